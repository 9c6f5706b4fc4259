/**
 * Takes a guard out of the agents' own code as this process loads it: their files, TypeScript and Lua, are changed at the places that a guard
 * names. A place that is not found any more is an error, so that a guard cannot be "removed" without effect.
 */
import fs from 'node:fs';
import { registerHooks, syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** One change of a file: every occurrence of `from` becomes `to`. */
export interface Edit {
  /** From the repository's root. */
  readonly file: string;
  readonly from: string | RegExp;
  readonly to: string;
}

const root = join(import.meta.dirname, '../../..');

/** The file's text with these edits. Throws if a place is not there. @internal */
export function edited(path: string, text: string, edits: readonly Edit[]): string {
  let result = text;
  for (const { file, from, to } of edits) {
    if (join(root, file) !== path) continue;
    const next = result.replaceAll(from, () => to);
    if (next === result)
      throw new Error(`${file} has no ${String(from)} any more: say in sim/src/guards where this guard is now`);
    result = next;
  }
  return result;
}

/** To be called before the agents' code is loaded. */
export function removeFromCode(edits: readonly Edit[]): void {
  const { readFileSync } = fs;
  const read = (...args: Parameters<typeof readFileSync>): unknown => {
    const text: unknown = readFileSync(...args);
    const [path] = args;
    if (typeof path === 'number') return text;
    const name = path instanceof URL ? fileURLToPath(path) : String(path);
    // Jest reads the files that it transforms in this way, as bytes or as text.
    if (!edits.some(({ file }) => join(root, file) === name)) return text;
    const without = edited(name, String(text), edits);
    return typeof text === 'string' ? without : Buffer.from(without);
  };
  Object.assign(fs, { readFileSync: read });
  syncBuiltinESMExports();
  registerHooks({
    load: (url, context, next) => {
      const loaded = next(url, context);
      const path = url.startsWith('file:') ? fileURLToPath(url) : '';
      if (!edits.some(({ file }) => join(root, file) === path)) return loaded;
      // Node may have read it by the function above, or by another one.
      return { ...loaded, source: edited(path, readFileSync(path, 'utf8'), edits) };
    },
  });
}
