/** Why the edge of an agent ended a call, or an agent did not start. */
export type AgentErrorKind =
  /** The caller hung up. */
  | 'cancelled'
  /** The caller's deadline passed. */
  | 'deadline-exceeded'
  /** This agent is about to end. */
  | 'draining'
  /** One certificate has too many calls. */
  | 'too-many-calls'
  /** Too many watch one migration. */
  | 'too-many-watchers'
  /** The caller's certificate has no role that may make this call. */
  | 'not-allowed'
  /** The messages of a call are compressed. */
  | 'compression-unsupported'
  /** The environment's variables cannot be used. */
  | 'config-invalid';

/** The one class that this package throws; `kind` is also the reason a caller of an agent sees. */
export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly kind: AgentErrorKind;
  /** Of config-invalid: whether the reason may go away without a change to the configuration. */
  readonly isTemporary: boolean;

  /** `message` says what, where, why, and what to do next. */
  constructor(kind: AgentErrorKind, message: string, options: ErrorOptions & { isTemporary?: boolean } = {}) {
    super(message, options);
    this.kind = kind;
    this.isTemporary = options.isTemporary ?? false;
  }
}
