/** What this program was built from; `./dev build` writes it here. */
export const build = { version: '0.0.0', commit: 'sources' };
