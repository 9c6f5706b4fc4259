/** The second table: many guests at once, from the first wish to the last one's end. */
import type { Lab } from '@ferry/lab';
import type { Contender } from './contender.ts';
import { type BenchGuest, describeGuest, type GuestKind, untilTicked } from './guests.ts';
import { formatSummary, summarize } from './statistics.ts';

/** More of them only wait for each other while they start, which is not measured. */
const startingMax = 4;

/** Starts `count` guests, moves all of them at once, and ends them; gives how long the moving took, ms. */
export async function measureMany(
  contender: Contender,
  count: number,
  kind: GuestKind,
  rom: string,
  lab: Lab,
  signal: AbortSignal,
): Promise<number> {
  await using all = new AsyncDisposableStack();
  const guests = Array.from({ length: count }, () => describeGuest(kind, rom, lab.files));
  const migrations: (() => Promise<unknown>)[] = [];
  const waiting = guests.values();
  const startSome = async (): Promise<void> => {
    for (const guest of waiting) {
      const running = all.use(await contender.run(guest, signal));
      migrations.push(() => running.migrate());
      await untilTicked(guest, 1, signal);
    }
  };
  await allOf(Array.from({ length: startingMax }, startSome));
  const began = performance.now();
  await allOf(migrations.map((migrate) => migrate()));
  const tookMs = performance.now() - began;
  await allOf(guests.map((guest: BenchGuest) => untilTicked(guest, 1, signal)));
  return tookMs;
}

/** Waits for all of them, also when one fails: none may still begin something when the guests are ended. */
async function allOf(work: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** A row for each contender; the ratio is of the medians, to the first contender's. */
export function rowsOfMany(results: ReadonlyMap<string, readonly number[]>): string[][] {
  const [base] = [...results.values()].map(summarize);
  const rows = [...results].map(([name, times]) => {
    const summary = summarize(times);
    const ratio = base === undefined || summary === undefined ? '–' : (summary.median / base.median).toFixed(2);
    return [name, formatSummary(summary, 0), ratio];
  });
  return [['', 'all of them ms', 'ratio'], ...rows];
}
