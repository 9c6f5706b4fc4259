import type { GuestConfig } from './config.ts';
import { GuestModel } from './model.ts';

/** What a guest's output proves. */
export interface TickReport {
  /** Lines that announced a tick. */
  readonly ticks: number;
  readonly firstTick: number | undefined;
  readonly lastTick: number | undefined;
  /** Ticks that are missing between two that are there. */
  readonly gaps: number;
  /** Ticks that came again, or after a later one: two copies of the guest ran, or it went back in time. */
  readonly repeats: number;
  /** Pages that the guest found to hold something else than what it had written (it stops counting at 9999). */
  readonly bad: number;
  /** Every tick's line is, to the last character, what the configuration leads to: memory and state are intact. */
  readonly checksumsOk: boolean;
  /** At least one tick, and nothing at all is wrong. */
  readonly intact: boolean;
  /** What is wrong, in words: the first few of each. */
  readonly problems: readonly string[];
}

/** A tick as somebody saw it come. */
export interface TickArrival {
  readonly tick: number;
  /** Microseconds on any clock that all arrivals share. */
  readonly atUs: number;
}

const TICK = /^T (\d{8}) [0-9a-f]{8} \d{6} (\d{4})$/;
const PROBLEMS_MAX = 20;
/** A larger gap is taken for a garbled line: computing the checksums in between would take too long. */
const GAP_MAX = 100_000;

/**
 * Checks a guest's output from one or more hosts: each part appended to the one before, since a line may be cut where
 * the guest changed hosts. The checksums are recomputed from the configuration, so the output may begin at any tick,
 * but not more than 100 000 ticks after the guest's start. An unfinished line at the end is not looked at.
 */
export function verifyTicks(output: string, config: GuestConfig): TickReport {
  const model = new GuestModel(config);
  const problems: string[] = [];
  const problem = (line: number, text: string) => {
    if (problems.length < PROBLEMS_MAX) problems.push(`line ${line + 1}: ${text}`);
  };
  const counts = { ticks: 0, gaps: 0, repeats: 0, bad: 0, badLines: 0, garbled: 0, wrong: 0 };
  let firstTick: number | undefined;
  let lastTick: number | undefined;
  let modelTick = 0;

  const lines = output.split('\n').slice(0, -1);
  for (const [at, line] of lines.entries()) {
    const [, tickText, badText] = TICK.exec(line) ?? [];
    const tick = Number(tickText);
    if (tickText === undefined || tick - modelTick > GAP_MAX) {
      if (at === 0 && (model.header.endsWith(line) || isFragment(line))) continue;
      if (line.startsWith('BAD ')) counts.badLines += 1;
      else counts.garbled += 1;
      problem(at, line.slice(0, 100));
      continue;
    }
    counts.ticks += 1;
    counts.bad = Math.max(counts.bad, Number(badText));
    firstTick ??= tick;
    if (tick <= (lastTick ?? 0)) {
      counts.repeats += 1;
      problem(at, `tick ${tick} after tick ${lastTick ?? 0}`);
      continue;
    }
    if (lastTick !== undefined && tick > lastTick + 1) {
      counts.gaps += tick - lastTick - 1;
      problem(at, `tick ${tick} after tick ${lastTick}`);
    }
    lastTick = tick;
    let expected = '';
    for (; modelTick < tick; modelTick += 1) expected = model.next();
    if (line !== expected) {
      // One wrong word makes every later checksum wrong: telling of the first is enough.
      if (counts.wrong === 0) problem(at, `${line} should be ${expected}`);
      counts.wrong += 1;
    }
  }

  const bad = Math.max(counts.bad, counts.badLines);
  const checksumsOk = counts.wrong === 0;
  const { ticks, gaps, repeats, garbled } = counts;
  const intact = ticks > 0 && gaps + repeats + bad + garbled === 0 && checksumsOk;
  return { ticks, firstTick, lastTick, gaps, repeats, bad, checksumsOk, intact, problems };
}

/** Whether a first line may be the rest of a tick's that began before somebody listened. */
const isFragment = (line: string): boolean => line.length < 31 && /^[0-9a-fT ]*$/.test(line);

/** Tells the ticks in a guest's output, read in pieces, from when they came. Feed the parts of all hosts in their order. */
export class TickReader {
  #rest = '';

  /** Takes a piece of output that came at `atUs` and returns the ticks it completed. */
  take(piece: string, atUs: number): TickArrival[] {
    const lines = (this.#rest + piece).split('\n');
    // What is longer than any line of the guest's is not one of them.
    this.#rest = (lines.pop() ?? '').slice(-256);
    return lines.flatMap((line) => {
      const tick = TICK.exec(line)?.[1];
      return tick === undefined ? [] : [{ tick: Number(tick), atUs }];
    });
  }
}

/**
 * The blackout as the guest's user sees it: the longest time between two ticks that follow each other, in µs, and the
 * tick before it. It includes one tick interval, which is also its resolution. Undefined with less than two ticks.
 */
export function tickBlackout(arrivals: readonly TickArrival[]): { gapUs: number; afterTick: number } | undefined {
  const ordered = arrivals.toSorted((a, b) => a.tick - b.tick || a.atUs - b.atUs);
  let longest: { gapUs: number; afterTick: number } | undefined;
  for (const [at, { tick, atUs }] of ordered.entries()) {
    const next = ordered[at + 1];
    if (next !== undefined && next.atUs - atUs > (longest?.gapUs ?? -1)) {
      longest = { gapUs: next.atUs - atUs, afterTick: tick };
    }
  }
  return longest;
}
