import { JobError } from './errors.ts';

/** The async jobs of this project; libvirt has more (save, dump, snapshot, start, backup). */
export type JobKind = 'MIGRATION_OUT' | 'MIGRATION_IN';

/** libvirt's normal jobs (virdomainjob.h), without the two pseudo jobs for async ones. */
export type ShortJobKind =
  | 'query'
  | 'destroy'
  | 'suspend'
  | 'modify'
  | 'abort'
  | 'migration-op'
  | 'modify-migration-safe';

/** Which short jobs may run beside an async job (libvirt 11.3, qemuMigrationJobStart); beside none, all may. */
const allowed: Readonly<Record<JobKind, readonly ShortJobKind[]>> = {
  MIGRATION_OUT: ['query', 'destroy', 'abort', 'suspend', 'migration-op', 'modify-migration-safe'],
  MIGRATION_IN: ['destroy', 'modify-migration-safe'],
};

/** The mask of a job as its slot in Redis keeps it. After a restart libvirt no longer lets an outgoing guest be suspended. */
export function maskOf(kind: JobKind, adopted: boolean): string {
  const kinds = allowed[kind].filter((each) => !(adopted && each === 'suspend'));
  return ` ${kinds.join(' ')} `;
}

/** Redis may hold what another version of Ferry wrote. */
export function jobKindOf(text: string | undefined): JobKind {
  if (text === 'MIGRATION_OUT' || text === 'MIGRATION_IN') return text;
  throw new JobError('redis-reply', `Redis holds a job of a kind that we do not know: ${text}`);
}
