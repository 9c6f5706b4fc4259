/** Tells whether a repeated call asks for the same as the one whose answer is kept. */
import { createHash } from 'node:crypto';
import { MigrationError } from '@ferry/migration';

/** Bytes of a digest. */
export const digestBytes = 32;

/** What a record without a digest is compared with: nothing is known of its request. */
const unknown = Buffer.alloc(digestBytes);

/**
 * The digest of those parts of a request that say what is asked for. Cookies and `cancelled` are no such parts: they say how far the migration is.
 */
export function requestDigest(parts: Readonly<Record<string, unknown>>): Buffer {
  const text = JSON.stringify(parts, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  return createHash('sha256').update(text).digest();
}

/** Throws MigrationError request-differs if an id was used for something else. */
export function refuseOtherRequest(known: Uint8Array, asked: Uint8Array, what: string): void {
  if (unknown.equals(known) || unknown.equals(asked) || Buffer.from(known).equals(asked)) return;
  throw new MigrationError(
    'request-differs',
    `${what} was asked for with another request (domain, destination, options or document): choose a fresh id, or repeat the call as it was`,
  );
}

/** For requests that ask for nothing of their own: Finish and Confirm say how far a migration is. */
export const noDigest: Uint8Array = unknown;

/** Under this name the job of a peer-to-peer migration keeps the digest of the request that asked for the whole of it. */
const option = 'asked';

export const askedOption = (ongoing: { readonly asked: Uint8Array } | undefined): Record<string, string> =>
  ongoing === undefined || unknown.equals(ongoing.asked)
    ? {}
    : { [option]: Buffer.from(ongoing.asked).toString('hex') };

export function askedFrom(options: Readonly<Record<string, string>>): Uint8Array {
  const kept = Buffer.from(options[option] ?? '', 'hex');
  return kept.length === digestBytes ? kept : unknown;
}
