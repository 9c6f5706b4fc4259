/** The licences of what the agents and the command line are shipped with. */

/** With these Ferry can be given on under its own licence, Apache-2.0, without more than their notices. */
const allowed: ReadonlySet<string> = new Set(['Apache-2.0', 'MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD']);

/** Reads what `pnpm licenses list --json` says: by licence, the packages that have it. Gives what is wrong, undefined for nothing. */
export function licenceProblem(json: string): string | undefined {
  const byLicence = JSON.parse(json) as Record<string, { name: string }[]>;
  const entries = Object.entries(byLicence);
  if (entries.length === 0) return 'no package was looked at';
  const refused = entries.filter(([licence]) => !allowed.has(licence));
  if (refused.length === 0) return undefined;
  const named = refused.map(([licence, packages]) => `${packages.map(({ name }) => name).join(', ')} (${licence})`);
  return `not among the licences that are allowed (tools/licences.ts): ${named.join('; ')}`;
}
