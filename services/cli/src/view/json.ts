/** One JSON object a line, for scripts: numbers are numbers, names are those of docs/protocol.md. */
import type { MigrationEvent, MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import { failureObject } from '../failure.ts';
import type { MigrationEnd, MigrationPlan, MigrationView } from '../migration.ts';
import { outcomeWord, phaseWord, sideWord } from '../words.ts';

/** The plan first, then each event, then the end. `write` takes a line without its end. */
export function jsonView(plan: MigrationPlan, write: (line: string) => void): MigrationView {
  const print = (object: Record<string, unknown>) => write(JSON.stringify(object));
  print({ event: 'migration', ...plan });
  let endTold = false;
  return {
    event(event) {
      const object = eventObject(event);
      if (object === undefined) return;
      endTold ||= object['event'] === 'ended';
      print(object);
    },
    note: (text) => print({ event: 'note', text }),
    async end(end) {
      if (!endTold) print(endObject(end));
    },
  };
}

/** An event as an object; undefined if it is of a kind that a newer agent knows. */
function eventObject({ at, event }: MigrationEvent): Record<string, unknown> | undefined {
  const head = at === undefined ? {} : { at: at.toISOString() };
  switch (event?.$case) {
    case 'phaseChanged': {
      const { side, phase, done, tookUs } = event.value;
      const took = done ? { tookUs: Number(tookUs) } : {};
      return { event: 'phase', ...head, side: sideWord(side), phase: phaseWord(phase), done, ...took };
    }
    case 'progress': {
      const { qemuStatus, statistics } = event.value;
      return { event: 'progress', ...head, status: qemuStatus, ...figures(statistics) };
    }
    case 'switchover':
      return { event: 'switchover', ...head, side: sideWord(event.value.side), atUs: Number(event.value.atUs) };
    case 'ended': {
      const { outcome, failure, statistics } = event.value;
      const why = failure === undefined ? {} : { failure: failureObject(failure) };
      return { event: 'ended', ...head, outcome: outcomeWord(outcome), ...why, ...figures(statistics) };
    }
    case 'hold': {
      const { cause } = event.value;
      return { event: 'hold', ...head, ...(cause === undefined ? {} : { cause: failureObject(cause) }) };
    }
    case 'doubt': {
      const { cause, settledBy } = event.value;
      return { event: 'doubt', ...head, ...(cause === undefined ? {} : { cause: failureObject(cause), settledBy }) };
    }
    case undefined:
      break;
  }
  return undefined;
}

function endObject(end: MigrationEnd): Record<string, unknown> {
  switch (end.kind) {
    case 'completed':
      return { event: 'ended', outcome: 'completed', ...figures(end.statistics) };
    case 'cancelled':
    case 'failed': {
      const why = end.failure === undefined ? {} : { failure: failureObject(end.failure) };
      return { event: 'ended', outcome: end.kind, ...why, ...figures(end.statistics) };
    }
    case 'lost': {
      const why = end.failure === undefined ? {} : { failure: failureObject(end.failure) };
      return { event: 'ended', outcome: 'guest-lost', ...why };
    }
    case 'guest-ended': {
      const why = end.failure === undefined ? {} : { failure: failureObject(end.failure) };
      return { event: 'ended', outcome: 'guest-ended', ...why };
    }
    case 'in-doubt':
      return { event: 'ended', outcome: 'in-doubt', why: end.why };
    case 'left':
      return { event: 'left', abort: end.abort };
  }
}

/** Below 2^53 in any memory and any century that we shall see. */
function figures(statistics: MigrationStatistics | undefined): Record<string, unknown> {
  if (statistics === undefined) return {};
  return {
    statistics: Object.fromEntries(
      Object.entries(statistics).map(([name, value]: [string, bigint]) => [name, Number(value)]),
    ),
  };
}
