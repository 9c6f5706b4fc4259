import { readFileSync } from 'node:fs';

const read = (name: string): string => readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8');

/** The text of a register or owner script as Redis runs it, with the head that all of them share. */
export const scriptText = (name: string): string => `${read('incarnation')}\n${read(name)}`;
