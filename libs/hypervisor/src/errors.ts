/** Why this host could not do something with a QEMU. */
export type HypervisorErrorKind =
  /** No domain of that UUID or name is on this host. */
  | 'domain-not-found'
  /** A domain with that UUID or name is on this host already. */
  | 'domain-exists'
  /** The domain is not in the state the call needs. */
  | 'domain-not-running'
  /** A file that the domain names is not on this host. */
  | 'disk-missing'
  /** A file of the domain is not what it may be, or has QEMU open others. */
  | 'file-refused'
  /** The document opens something to all, reaches the host's own services, or wants a label that is not applied, and the host does not allow it. */
  | 'host-exposed'
  /** The document asks for a limit, a filter or a kind of port that this host does not have. */
  | 'host-lacks'
  /** The host's configuration does not say which bridge a network is. */
  | 'network-missing'
  /** The host has less free memory than the guest needs. */
  | 'not-enough-memory'
  /** QEMU ended while starting. */
  | 'qemu-start-failed'
  /** This QEMU lacks the machine type. */
  | 'machine-unsupported'
  /** This QEMU cannot give the guest features of its CPU. */
  | 'cpu-unsupported'
  /** No port of the configured range is free. */
  | 'ports-exhausted'
  /** The migration address cannot be listened on. */
  | 'address-unusable'
  /** A file in the state directory is damaged. */
  | 'state-unreadable'
  /** A file in the state directory cannot be written. */
  | 'state-unwritable';

/** The one class that this package throws; `kind` is also the reason a caller of an agent sees. */
export class HypervisorError extends Error {
  override readonly name = 'HypervisorError';
  readonly kind: HypervisorErrorKind;

  /** `message` says what, where, why, and what to do next. */
  constructor(kind: HypervisorErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
