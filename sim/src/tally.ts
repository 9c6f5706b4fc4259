/** What came of many schedules. */
import type { ScheduleEnd } from './schedule.ts';

/** A schedule that broke a rule of the handover. */
export interface Found {
  readonly seed: number;
  readonly rule: string;
  readonly message: string;
}

export interface Tally {
  done: number;
  events: number;
  /** Faults that struck. */
  faults: number;
  /** Guests that have come to their destination. */
  migrated: number;
  /** Migrations in doubt that a person settled. */
  words: number;
  /** Schedules in which an assumption of the models did not hold. */
  excused: number;
  /** The one that the search ended with. */
  found: Found | undefined;
  /** Broken rules, and how often. */
  readonly broken: Map<string, number>;
}

export const newTally = (): Tally => ({
  done: 0,
  events: 0,
  faults: 0,
  migrated: 0,
  words: 0,
  excused: 0,
  found: undefined,
  broken: new Map(),
});

export function addEnd(tally: Tally, { events, faults, migrated, words, excused, violation }: ScheduleEnd): void {
  tally.done += 1;
  tally.events += events;
  tally.faults += faults;
  tally.migrated += migrated;
  tally.words += words;
  if (excused) tally.excused += 1;
  if (violation !== undefined) count(tally, violation.rule, 1);
}

export function addTally(sum: Tally, { done, events, faults, migrated, words, excused, found, broken }: Tally): void {
  sum.done += done;
  sum.events += events;
  sum.faults += faults;
  sum.migrated += migrated;
  sum.words += words;
  sum.excused += excused;
  sum.found ??= found;
  for (const [rule, times] of broken) count(sum, rule, times);
}

function count({ broken }: Tally, rule: string, times: number): void {
  broken.set(rule, (broken.get(rule) ?? 0) + times);
}

export const brokenIn = ({ broken }: Tally): number => [...broken.values()].reduce((sum, each) => sum + each, 0);

/** One line. */
export function lineOf(tally: Tally, ms: number): string {
  const { done, events, faults, migrated, words, excused, broken } = tally;
  const kinds = broken.size === 0 ? '' : ` (${[...broken].map(([rule, times]) => `${rule} ${times}`).join(', ')})`;
  const each = done === 0 ? 0 : events / done;
  return (
    `${done} schedules with ${faults} faults: ${brokenIn(tally)} broken${kinds}; ${migrated} guests migrated, ${words} settled by a person, ${excused} excused; ` +
    `${Math.round(each)} events each, ${Math.round((done * 1000) / Math.max(1, ms))} schedules a second`
  );
}
