/** Which arguments for QEMU a document may add (`<qemu:commandline>`): all, none, or those of a list. */

/** One that may be added: `-fw_cfg` with a value that fits, or, without a pattern, alone. */
export interface ArgumentRule {
  readonly name: string;
  /** `*` stands for anything but a comma, which ends an option; `**` for anything. */
  readonly pattern?: string;
}

export type AddedArguments = 'allow' | 'refuse' | readonly ArgumentRule[];

/** A list: a line each, `-NAME` or `-NAME PATTERN`; lines that begin with # are remarks. Throws Error that names the line. */
export function readArgumentRules(text: string): ArgumentRule[] {
  return text.split('\n').flatMap((raw, i) => {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) return [];
    const [, name, pattern] = /^-?(-[A-Za-z0-9][A-Za-z0-9_.-]*)(?:\s+(\S.*))?$/.exec(line) ?? [];
    if (name === undefined) throw new Error(`line ${i + 1} is neither -NAME nor -NAME PATTERN`);
    return [{ name, ...(pattern === undefined ? {} : { pattern }) }];
  });
}

/** The first arguments that no rule allows, with where they are; undefined if all of them are. */
export function notAllowed(
  args: readonly string[],
  rules: readonly ArgumentRule[],
): { readonly at: number; readonly words: string } | undefined {
  for (let at = 0; at < args.length; ) {
    const [given = '', next] = [args[at], args[at + 1]];
    // QEMU takes two dashes for one.
    const name = given.startsWith('--') ? given.slice(1) : given;
    const value = next === undefined || next.startsWith('-') ? undefined : next;
    const allowed = rules.some(
      (rule) =>
        rule.name === name &&
        (rule.pattern === undefined ? value === undefined : value !== undefined && fits(value, rule.pattern)),
    );
    if (!allowed) return { at, words: value === undefined ? given : `${given} ${value}` };
    at += value === undefined ? 1 : 2;
  }
  return undefined;
}

const wild: Readonly<Record<string, string>> = { '*': '[^,]*', '**': '.*' };

function fits(value: string, rule: string): boolean {
  const expression = rule
    .split(/(\*{1,2})/)
    .map(
      (part) =>
        wild[part] ?? part.replaceAll(/[^A-Za-z0-9_]/gu, (letter) => `\\u{${letter.codePointAt(0)?.toString(16)}}`),
    )
    .join('');
  return new RegExp(`^${expression}$`, 'su').test(value);
}
