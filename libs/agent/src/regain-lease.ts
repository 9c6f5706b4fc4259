/** A lease that was lost because Redis was away, or has forgotten: nobody else acts under this agent's name, so it is taken back. */
import type { Clock, MigrationJobs } from '@ferry/jobs';
import { type Held, labelsOf, type RegainFailure } from './held.ts';
import type { Log } from './log.ts';

/** How long one attempt may take. */
const regainMs = 2_000;

/** Tries once; undefined if the lease is held again. */
export async function regainLease<State>(
  held: Held<State>,
  { jobs, clock, holdMs, log }: { jobs: MigrationJobs; clock: Clock; holdMs: number; log: Log },
): Promise<RegainFailure | undefined> {
  if (held.leaseLostMs === undefined) log.warn({ err: held.job.signal.reason, ...labelsOf(held) }, 'the lease is lost');
  const lostAtMs = (held.leaseLostMs ??= clock.monotonic());
  try {
    await jobs.migrationJobRegain(held.job, AbortSignal.timeout(regainMs));
    held.leaseLostMs = undefined;
    log.info(labelsOf(held), 'the lease has been taken back');
    return undefined;
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause), { cause });
    return { error, isFinal: clock.monotonic() - lostAtMs >= holdMs };
  }
}
