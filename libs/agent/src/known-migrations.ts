/** Migrations that somebody asks about: those of this agent's life from memory, earlier ones from the job's record in Redis. */
import { JobError, type JobRecord, type MigrationJobs } from '@ferry/jobs';
import { isPhase, phaseNumber, type Side } from '@ferry/migration';
import { Failure, type Migration, MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import { askedFrom } from './request-digest.ts';
import { Ongoing, type OngoingMigrations, type OngoingStart, type OutcomeWord } from './ongoing.ts';

const outcomes: Readonly<Record<string, OutcomeWord>> = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'cancelled',
  lost: 'lost',
  ended: 'ended',
};

/** What the job's record keeps of a migration's end, besides its outcome. */
export function recordOfEnd(ongoing: Ongoing): Record<string, string> {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const { failure, statistics } = ongoing;
  return {
    statistics: base64(MigrationStatistics.encode(statistics).finish()),
    ...(failure === undefined ? {} : { failure: base64(Failure.encode(failure).finish()) }),
  };
}

/** What a migration's job was started with, as its options keep it. */
export function startOf(
  job: { readonly migrationId: string; readonly domain: string; readonly options: Readonly<Record<string, string>> },
  side: Side,
): OngoingStart {
  const { name, protocol } = { name: job.options['name'], protocol: job.options['protocol'] };
  return {
    migrationId: job.migrationId,
    domainUuid: job.domain,
    domainName: name ?? job.domain,
    side,
    protocol: protocol === '2' ? 2 : 3,
    requester: job.options['requester'],
    traceparent: job.options['traceparent'],
  };
}

function fromRecord(record: JobRecord, side: Side): Ongoing {
  const ongoing = new Ongoing(startOf(record, side), new Date(record.startedAtMs));
  ongoing.asked = askedFrom(record.options);
  const { failure, statistics } = { failure: record.record['failure'], statistics: record.record['statistics'] };
  if (statistics !== undefined) ongoing.statistics = MigrationStatistics.decode(Buffer.from(statistics, 'base64'));
  const outcome = outcomes[record.outcome ?? ''];
  if (outcome !== undefined) {
    ongoing.end(outcome, failure === undefined ? undefined : Failure.decode(Buffer.from(failure, 'base64')));
  }
  return ongoing;
}

/** A migration as its record has it, for a history; one that goes on is described by its agent alone as it is now. */
export function describeRecord(record: JobRecord): Migration {
  const { finishedAtMs, owner, phase } = record;
  const described = fromRecord(record, record.kind === 'MIGRATION_OUT' ? 'source' : 'dest').describe();
  return {
    ...described,
    phase: isPhase(phase) ? phaseNumber[phase] : 0,
    host: owner.slice(owner.indexOf('@') + 1),
    endedAt: finishedAtMs === undefined ? undefined : new Date(finishedAtMs),
  };
}

export interface Knowledge {
  readonly ongoing: OngoingMigrations;
  readonly jobs: MigrationJobs;
  readonly side: Side;
  readonly host: string;
}

const kindOf = { source: 'MIGRATION_OUT', dest: 'MIGRATION_IN' } as const;
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A migration by its id; one of an earlier life of the agent is found if the domain is named by its UUID. Throws JobError unknown-migration. */
export async function knownMigration(
  { ongoing, jobs, side, host }: Knowledge,
  request: { readonly migrationId: string; readonly domain: string },
  signal: AbortSignal,
): Promise<Ongoing> {
  const { migrationId, domain } = request;
  const live = ongoing.find(migrationId);
  if (live !== undefined) return live;
  const record = uuid.test(domain) ? await jobs.recordOf(domain, migrationId, signal) : undefined;
  // The other half of a migration has a record of the same id: on its own host, and of the other kind.
  if (record?.outcome !== undefined && record.kind === kindOf[side]) return fromRecord(record, side);
  throw new JobError(
    'unknown-migration',
    `the ${side} agent of host ${host} knows no migration ${migrationId} of ${domain}: name the domain by its UUID to see one that ended before the agent was restarted`,
  );
}
