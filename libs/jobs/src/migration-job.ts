import type { JobRef } from './job-scripts.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { JobKind } from './masks.ts';

/** Which phases may follow which; a phase that follows none opens the job. */
export type PhaseTable = Readonly<Record<string, { readonly after: readonly string[] }>>;

/**
 * A migration's job as one call sees it. Each `migrationJobStart`, `migrationJobAdopt` and `migrationJobIsActive` gives its own,
 * which is how two calls that want to execute the same job are told apart (libvirt: the owning thread).
 */
export interface MigrationJob {
  readonly kind: JobKind;
  readonly domain: string;
  readonly migrationId: string;
  /** Another one once a lost lease has been reacquired; so is the signal. */
  readonly token: string;
  /** The last phase recorded; "none" before the first. */
  readonly phase: string;
  /** Whether a call owns the job at this moment. */
  readonly executing: boolean;
  readonly startedAtMs: number;
  readonly options: Readonly<Record<string, string>>;
  /** Aborts (reason JobError lease-lost) before the lease can have expired. */
  readonly signal: AbortSignal;
}

/** A job that this process holds. */
export interface HeldJob {
  readonly kind: JobKind;
  /** A lease that is reacquired has a token and a keeper of its own. */
  ref: JobRef;
  keeper: LeaseKeeper;
  readonly startedAtMs: number;
  readonly options: Readonly<Record<string, string>>;
  phase: string;
  /** The call that executes it. */
  owner: MigrationJob | undefined;
  /** How many phases this holder has asked to be recorded, and the last of them that Redis has confirmed. */
  steps: number;
  confirmedStep: number;
}
