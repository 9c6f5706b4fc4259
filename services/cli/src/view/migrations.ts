/** A domain's migrations as a table, or an object each. */
import type { Migration } from '@ferry/proto/ferry/v1/migration';
import { failureObject } from '../failure.ts';
import { columns, duration, outcomeWord, phaseWord, sideWord } from '../words.ts';

const outcomeOf = ({ active, outcome, phase }: Migration): string =>
  active ? `in ${phaseWord(phase)}` : outcomeWord(outcome);

/** One row a half: when, on which host, how it ended and why. */
export function migrationTable(migrations: readonly Migration[]): string {
  const rows = migrations.map((migration) => {
    const { startedAt, migrationId, host, side, failure, statistics } = migration;
    const blackout = statistics?.blackoutUs ?? 0n;
    const why =
      failure === undefined
        ? ''
        : `${failure.reason} (${sideWord(failure.side)}, ${phaseWord(failure.phase)}): ${failure.message}`;
    return [
      startedAt?.toISOString() ?? '?',
      migrationId,
      `${host} ${sideWord(side)}`,
      outcomeOf(migration),
      why || (blackout > 0n ? `blackout ${duration(blackout)}` : ''),
    ];
  });
  return columns([['BEGAN', 'MIGRATION', 'HOST', 'OUTCOME', 'WHY'], ...rows]);
}

/** For `--json`. */
export function migrationObject(migration: Migration): Record<string, unknown> {
  const { migrationId, domainUuid, domainName, host, side, protocol, phase, failure, statistics, startedAt, endedAt } =
    migration;
  const blackoutUs = Number(statistics?.blackoutUs ?? 0n);
  return {
    migrationId,
    domain: domainName,
    uuid: domainUuid,
    host,
    side: sideWord(side),
    protocol,
    phase: phaseWord(phase),
    active: migration.active,
    outcome: outcomeWord(migration.outcome),
    startedAt: startedAt?.toISOString(),
    ...(endedAt === undefined ? {} : { endedAt: endedAt.toISOString() }),
    ...(blackoutUs > 0 ? { blackoutUs } : {}),
    ...(failure === undefined ? {} : { failure: failureObject(failure) }),
  };
}
