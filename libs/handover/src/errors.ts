/** Why the register did not decide. */
export type HandoverErrorKind =
  /** Redis did not answer: nobody knows the decision yet. */
  | 'register-unavailable'
  /** Another life of Redis answered: it may have forgotten something. */
  | 'register-changed'
  /** Redis answered something we do not understand. */
  | 'register-reply'
  /** The source has not voted: the destination must not start the guest. */
  | 'vote-missing'
  /** The record has a vote or a decision already: the id is of an earlier migration. */
  | 'migration-id-used'
  /** Another host is the migration's destination: a record has one. */
  | 'prepared-elsewhere'
  /** The ownership record says that another host has the guest. */
  | 'owned-elsewhere'
  /** No host is registered under this name. */
  | 'host-unknown'
  /** The host that is to be forgotten is alive, or still holds leases. */
  | 'host-alive'
  /** The journal's file cannot be read now; what it says is not known. */
  | 'journal-unreadable'
  /** The journal cannot be written: what must be durable before the next step is not. */
  | 'journal-unwritable'
  /** What the journal said is lost. */
  | 'journal-damaged';

/** The one class that this package throws; `kind` is also the reason a caller of an agent sees. */
export class HandoverError extends Error {
  override readonly name = 'HandoverError';
  readonly kind: HandoverErrorKind;

  /** `message` says what, where, why, and what to do next. */
  constructor(kind: HandoverErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
