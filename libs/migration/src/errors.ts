/** Why a migration failed, as far as the protocol's own rules are concerned. */
export type MigrationErrorKind =
  /** The phase needs the cookie of the phase before. */
  | 'cookie-missing'
  /** The cookie is truncated or changed. */
  | 'cookie-damaged'
  /** The cookie is of a newer version than this agent knows. */
  | 'cookie-version'
  /** The cookie requires a feature this agent does not know. */
  | 'cookie-feature'
  /** The cookie is of another migration, domain or phase. */
  | 'cookie-foreign'
  /** The cookie was not made by the agent that it names. */
  | 'cookie-forged'
  /** Source and destination are the same host. */
  | 'same-host'
  /** A field of the request is missing or wrong. */
  | 'invalid-request'
  /** The id was used for another request. */
  | 'request-differs'
  /** The migration URI cannot be used. */
  | 'invalid-uri'
  /** The destination agent cannot be reached. */
  | 'destination-unreachable'
  /** The destination cannot reach the source agent, and would not learn from it how a migration was decided. */
  | 'source-unreachable'
  /** The destination's host has no source agent that runs: a guest would be beyond all commands there. */
  | 'source-agent-away'
  /** The destination agent refused. */
  | 'destination-refused'
  /** QEMU reports that the migration failed. */
  | 'migration-failed'
  /** Somebody asked for the migration to be given up. */
  | 'migration-cancelled'
  /** QEMU says that this guest cannot be migrated. */
  | 'migration-blocked'
  /** It could be done, but the guest or its data might come to harm; `unsafe` overrides. */
  | 'migration-unsafe'
  /** A host that requires encrypted memory traffic, or lacks what the wanted encryption needs. */
  | 'memory-not-encrypted'
  /** A QEMU lacks a migration capability that is needed. */
  | 'capability-missing'
  /** The guest's QEMU ended during the migration, and nothing says why. */
  | 'guest-gone'
  /** The guest shut down, or its user ended it, during the migration. */
  | 'guest-ended'
  /** The destination's QEMU could not load the guest. */
  | 'incoming-failed'
  /** What the switchover needs did not answer, so the guest was not stopped. */
  | 'not-ready'
  /** The guest is stopped for the switchover: it is the destination's to do. */
  | 'switching-over'
  /** The TLS handshake of the memory's connection failed, or was not answered: nothing was sent. */
  | 'handshake-failed'
  /** The guest was stopped for the switchover, and nothing moved any more: it was taken back. */
  | 'switchover-stalled'
  /** The migration is over already. */
  | 'not-migrating'
  /** The decision is not known yet. */
  | 'in-doubt'
  /** The other agent answers and does not know the decision either. */
  | 'other-undecided'
  /** A person would decide what is not in doubt. */
  | 'not-in-doubt'
  /** A person would decide otherwise than what is known. */
  | 'resolution-disproved'
  /** Nobody went on with the migration for longer than FERRY_IDLE_MS. */
  | 'abandoned';

/** The one class that this package throws; `kind` is also the reason a caller of an agent sees. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly kind: MigrationErrorKind;

  /** `message` says what, where, why, and what to do next. */
  constructor(kind: MigrationErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
