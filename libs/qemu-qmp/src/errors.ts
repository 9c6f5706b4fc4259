/** Why a conversation with a QEMU failed. */
export type QmpErrorKind =
  /** The connection ended: QEMU died, or somebody closed it. */
  | 'qemu-disconnected'
  /** QEMU answered a command with an error. */
  | 'qemu-refused'
  /** QEMU sent something that is not QMP, or too much of it. */
  | 'qemu-protocol'
  /** Nobody listens on the monitor's socket, or QEMU has long stopped answering. */
  | 'qemu-unreachable';

/** What QEMU said when it refused a command; `class` is for programs (`CommandNotFound`), `desc` for people. */
export interface Refusal {
  readonly class: string;
  readonly desc: string;
}

/** The one class that this package throws; `kind` is also the reason a caller of an agent sees. */
export class QmpError extends Error {
  override readonly name = 'QmpError';
  readonly kind: QmpErrorKind;
  /** With `qemu-refused`: QEMU's own words. */
  readonly refusal: Refusal | undefined;

  /** `message` says what, where, why, and what to do next. */
  constructor(kind: QmpErrorKind, message: string, options?: ErrorOptions & { refusal?: Refusal }) {
    super(message, options);
    this.kind = kind;
    this.refusal = options?.refusal;
  }
}
