/** What came of many schedules. */
import type { ScheduleEnd } from './schedule.ts';

export interface Tally {
  done: number;
  events: number;
  /** Faults that struck. */
  faults: number;
  /** Guests that were at the destination in the end. */
  migrated: number;
  /** Migrations in doubt that a person settled. */
  words: number;
  /** Broken rules, and how often. */
  readonly broken: Map<string, number>;
}

export const newTally = (): Tally => ({ done: 0, events: 0, faults: 0, migrated: 0, words: 0, broken: new Map() });

export function addEnd(tally: Tally, { events, faults, owner, words, violation }: ScheduleEnd): void {
  tally.done += 1;
  tally.events += events;
  tally.faults += faults;
  if (owner === 'dest') tally.migrated += 1;
  tally.words += words;
  if (violation !== undefined) count(tally, violation.rule, 1);
}

export function addTally(sum: Tally, { done, events, faults, migrated, words, broken }: Tally): void {
  sum.done += done;
  sum.events += events;
  sum.faults += faults;
  sum.migrated += migrated;
  sum.words += words;
  for (const [rule, times] of broken) count(sum, rule, times);
}

function count({ broken }: Tally, rule: string, times: number): void {
  broken.set(rule, (broken.get(rule) ?? 0) + times);
}

export const brokenIn = ({ broken }: Tally): number => [...broken.values()].reduce((sum, each) => sum + each, 0);

/** One line. */
export function lineOf(tally: Tally, ms: number): string {
  const { done, events, faults, migrated, words, broken } = tally;
  const kinds = broken.size === 0 ? '' : ` (${[...broken].map(([rule, times]) => `${rule} ${times}`).join(', ')})`;
  const each = done === 0 ? 0 : events / done;
  return (
    `${done} schedules with ${faults} faults: ${brokenIn(tally)} broken${kinds}; ${migrated} guests migrated, ${words} settled by a person; ` +
    `${Math.round(each)} events each, ${Math.round((done * 1000) / Math.max(1, ms))} schedules a second`
  );
}
