/** The bench's command line. */
import { parseArgs } from 'node:util';
import type { GuestKind } from './guests.ts';

export interface BenchOptions {
  /** Rounds of one guest at a time that count. */
  readonly rounds: number;
  /** Guests at once in the second table; 0 leaves it out. */
  readonly guests: number;
  /** Processes that do nothing but use processors, while the second table is measured. */
  readonly busy: number;
  /** Ferry once more in the first table, beside callers without manners. */
  readonly load: boolean;
  /** Rounds of the second table that count. */
  readonly manyRounds: number;
  /** Rounds before, which do not count: the agents are processes that have run for long when a guest comes. */
  readonly warmUp: number;
  /** The first table's guest. */
  readonly kind: GuestKind;
  /** Where the agents leave CPU profiles, or nothing. */
  readonly cpuProfile: string | undefined;
}

export const usage = `usage: ./dev bench [OPTIONS]

  --rounds N        rounds of one guest at a time (5)
  --guests N        guests at once in the second table, 0 to leave it out (20)
  --busy N          processes that use all the processor they get beside them (0)
  --many-rounds N   rounds of that (2)
  --load            Ferry once more in the first table, beside callers without manners
  --warm-up N       rounds before, which do not count (3)
  --dirty SIZE      how much of its memory the guest works on (1M)
  --rate SIZE       how much of it the guest dirties each second (0)
  --cpu-profile DIR the agents leave CPU profiles there (slows them down)
`;

/** The first table's guest. The second one's is in main.ts. */
const memoryMiB = 256;
const tickMs = 1;

/** Throws a TypeError or RangeError for what cannot be understood; undefined: help is wanted. */
export function readOptions(args: string[]): BenchOptions | undefined {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      rounds: text,
      guests: text,
      busy: text,
      load: { type: 'boolean' },
      'many-rounds': text,
      'warm-up': text,
      dirty: text,
      rate: text,
      'cpu-profile': text,
      help: { type: 'boolean' },
    },
  });
  if (values.help === true) return undefined;
  return {
    rounds: count('rounds', values.rounds ?? '5', 1, 1_000),
    // The ports of a lab's host are 62.
    guests: count('guests', values.guests ?? '20', 0, 60),
    busy: count('busy', values.busy ?? '0', 0, 64),
    load: values.load === true,
    manyRounds: count('many-rounds', values['many-rounds'] ?? '2', 1, 100),
    warmUp: count('warm-up', values['warm-up'] ?? '3', 0, 100),
    kind: { memoryMiB, tickMs, dirty: values.dirty ?? '1M', rate: values.rate ?? '0' },
    cpuProfile: values['cpu-profile'],
  };
}

function count(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new RangeError(`--${name} must be a number from ${min} to ${max}, not ${JSON.stringify(text)}`);
}
