import { createHash } from 'node:crypto';

/** What the Linux guest's output proves. */
export interface CounterReport {
  readonly first: number | undefined;
  readonly last: number | undefined;
  readonly lines: number;
  /** Every number once, in order, from the first line on, each with the checksum that it must have. */
  readonly intact: boolean;
  /** What is wrong, the first few of it. */
  readonly problems: readonly string[];
}

/** How many numbers the guest's file holds at its start: 1.3 MB of them. */
export const NUMBERS_FIRST = 200_000;

/**
 * Checks a Linux guest's console output, the parts of several hosts appended to each other. Other lines (the kernel's)
 * are passed over, an unfinished last line is too.
 */
export function verifyCounter(output: string): CounterReport {
  const problems: string[] = [];
  const hash = createHash('sha256').update(Array.from({ length: NUMBERS_FIRST }, (_, at) => `${at + 1}\n`).join(''));
  let first: number | undefined;
  let last: number | undefined;
  let lines = 0;
  for (const line of output.split('\n').slice(0, -1)) {
    const [, digits, sum] = /LINUX (\d{1,7}) ([0-9a-f]{64})\r?$/.exec(line) ?? [];
    if (digits === undefined) {
      if (line.includes('LINUX')) problems.push(`not a whole line: ${line}`);
      continue;
    }
    const count = Number(digits);
    lines += 1;
    first ??= count;
    if (count !== (last ?? 0) + 1) {
      problems.push(`${count} after ${last ?? 0}`);
      // Without what is between, the checksum can't be foretold.
      break;
    }
    last = count;
    const expected = hash
      .update(`${NUMBERS_FIRST + count}\n`)
      .copy()
      .digest('hex');
    if (sum !== expected) problems.push(`${count} has checksum ${sum ?? ''}, should have ${expected}`);
  }
  return { first, last, lines, intact: lines > 0 && problems.length === 0, problems: problems.slice(0, 10) };
}
