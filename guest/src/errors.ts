/** What can go wrong with the guest: its configuration makes no sense, or it could not be assembled. */
export type GuestErrorKind = 'config-invalid' | 'build-failed';

/** Thrown by this package. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
  readonly kind: GuestErrorKind;

  constructor(kind: GuestErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
