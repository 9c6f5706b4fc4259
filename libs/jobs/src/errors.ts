/** Why a job could not be had, or was lost. */
export type JobErrorKind =
  /** Another job holds the domain, and went on holding it for as long as we may wait. */
  | 'job-held'
  /** A migration job of this domain is active already. */
  | 'already-migrating'
  /** This agent holds no such migration. */
  | 'unknown-migration'
  /** The domain is held by another migration. */
  | 'foreign-migration'
  /** The phase may not follow the one recorded. */
  | 'phase-out-of-order'
  /** A phase of this migration is being executed right now. */
  | 'phase-in-progress'
  /** The lease is no longer certainly ours. */
  | 'lease-lost'
  /** Redis did not answer. */
  | 'redis-unavailable'
  /** Redis answered something we do not understand. */
  | 'redis-reply';

/** The migration job that is in the way: a caller compares its id with its own to tell a repeated call from a rival. */
export interface JobHolder {
  readonly migrationId: string;
  readonly kind: string;
  readonly phase: string;
  readonly owner: string;
}

/** The one class that this package throws; `kind` is also the reason a caller of an agent sees. */
export class JobError extends Error {
  override readonly name = 'JobError';
  readonly kind: JobErrorKind;
  /** Who holds the domain, where a migration does (`already-migrating`, `job-held`). */
  readonly holder: JobHolder | undefined;

  /** `message` says what, where, why, and what to do next. */
  constructor(kind: JobErrorKind, message: string, options?: ErrorOptions & { holder?: JobHolder }) {
    super(message, options);
    this.kind = kind;
    this.holder = options?.holder;
  }
}
