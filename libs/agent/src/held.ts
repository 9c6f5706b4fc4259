/** A migration that this agent holds the job of. */
import type { MigrationJob } from '@ferry/jobs';
import type { Phase } from '@ferry/migration';
import type { Failure } from '@ferry/proto/ferry/v1/migration';
import type { Ongoing, OutcomeWord } from './ongoing.ts';
import type { Reply } from './replies.ts';

/** Why a lost lease could not be taken back. */
export interface RegainFailure {
  readonly error: Error;
  /** It has been tried for as long as a migration goes on without a lease. */
  readonly isFinal: boolean;
}

export interface Held<State> {
  readonly ongoing: Ongoing;
  readonly state: State;
  /** The job as the current phase's call sees it. */
  job: MigrationJob;
  /** The last phase begun; ahead of the job's record while that is being written. */
  phase: Phase | undefined;
  readonly replies: Map<Phase, () => Uint8Array>;
  /** The digest of the request that the phase is for. */
  request: Uint8Array;
  /** The record of the phase before, which is written while the caller goes on already: nothing waits for Redis in the blackout. */
  bookkeeping: Promise<void>;
  /** The end of a phase that could not be recorded; the next phase is allowed by it. */
  unrecorded: Phase | undefined;
  executing: boolean;
  /** A peer-to-peer migration: this agent drives it, so it is never abandoned between phases. */
  driven: boolean;
  /** Its record says how it ended; this host's journal may not yet. */
  jobEnded: boolean;
  /** Since when the job's lease is lost, by the monotonic clock, ms. */
  leaseLostMs: number | undefined;
  /** While the lease is being taken back. */
  regaining: Promise<RegainFailure | undefined> | undefined;
  /** When it was last heard of, by the monotonic clock, ms. */
  touchedMs: number;
  firstFailure: Failure | undefined;
  /** The last that was logged of why it cannot be settled, by the monotonic clock, ms. */
  complained: { readonly message: string; readonly atMs: number } | undefined;
  /** Set when it could not be settled: how it ended and what was answered, as far as that is known by now. */
  unsettled:
    | { outcome: OutcomeWord | undefined; readonly phase: Phase | undefined; readonly reply: Reply | undefined }
    | undefined;
}

/** What its log lines carry. */
export const labelsOf = <State>(held: Held<State>): Record<string, string> => ({
  migrationId: held.ongoing.start.migrationId,
  domain: held.ongoing.start.domainUuid,
  side: held.ongoing.start.side,
});
