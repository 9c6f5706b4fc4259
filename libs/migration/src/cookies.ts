/**
 * The cookies that travel through the caller from each phase to the next (reference: libvirt's qemu_migration_cookie.c). One decoder
 * refuses everything that is not a whole, unchanged cookie of this very migration before its content is used.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { Cookie, CookieEnvelope } from '@ferry/proto/ferry/v1/cookie';
import { MigrationError } from './errors.ts';
import { phaseNumber, type Phase } from './phases.ts';

const magic = 0x46525259;
const version = 1;
/** libvirt's own limit for a cookie (remote_protocol.x). */
const bytesMax = 4 * 1024 * 1024;
/** Features that a sender may require of us, all of which we know. */
const known: ReadonlySet<string> = new Set(['vote', 'memory-tls', 'display-passwords']);

/** Of the digest, what shows damage; who made a cookie is shown by its proof. */
const digestBytes = 16;

const digestOf = (...parts: Uint8Array[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();

const proofBy = (key: Uint8Array, digest: Uint8Array): Buffer => createHmac('sha256', key).update(digest).digest();

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);

/** What every cookie says of its sender and its migration. */
export interface CookieOrigin {
  readonly migrationId: string;
  readonly domainUuid: string;
  readonly domainName: string;
  readonly hostName: string;
  readonly hostUuid: string;
  /** HOST:PORT at which the other agent can ask this one. */
  readonly agentAddress: string;
  /** The nonce of this run of the migration's id. */
  readonly run: string;
}

/** Makes the cookie that `phase` gives to the next one. `parts` are the fields that this phase adds; `key` proves who has made it. */
export function encodeCookie(
  phase: Phase,
  origin: CookieOrigin,
  parts: Partial<Cookie>,
  sentAtMs: number,
  key?: Uint8Array,
): Uint8Array {
  const content = Cookie.encode(
    Cookie.fromPartial({ ...origin, ...parts, phase: phaseNumber[phase], sentAtMs: BigInt(Math.round(sentAtMs)) }),
  ).finish();
  return sealed(content, key === undefined ? Buffer.alloc(0) : proofBy(key, digestOf(content)));
}

function sealed(content: Uint8Array, proof: Buffer): Uint8Array {
  const digest = digestOf(content, proof).subarray(0, digestBytes);
  return CookieEnvelope.encode({ magic, version, digest, content: Buffer.from(content), proof }).finish();
}

/** By what its maker knows a cookie again that has been decoded: what Prepare says of Begin's. */
export function sealOf(bytes: Uint8Array): { beginDigest: Buffer; beginProof: Buffer } {
  const { content, proof } = CookieEnvelope.decode(bytes);
  return { beginDigest: digestOf(content), beginProof: proof };
}

/** Whether Prepare was given the cookie that Begin has made with `key`. */
export const wasGivenOurs = ({ beginDigest, beginProof }: Cookie, key: Uint8Array): boolean =>
  isSame(beginProof, proofBy(key, beginDigest));

/** A cookie of this agent's own, as it may be kept: without the key that it carries. */
export function withoutMemoryKey(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return bytes;
  const { content, proof } = CookieEnvelope.decode(bytes);
  const cookie = Cookie.decode(content);
  if (cookie.memoryKey === '') return bytes;
  return sealed(Cookie.encode({ ...cookie, memoryKey: '', keyLeftOut: true }).finish(), proof);
}

/** The cookie that was given to `withoutMemoryKey`. */
export function restoreMemoryKey(bytes: Uint8Array, keyOf: (cookie: Cookie) => string): Uint8Array {
  if (bytes.length === 0) return bytes;
  const { content, proof } = CookieEnvelope.decode(bytes);
  const cookie = Cookie.decode(content);
  if (!cookie.keyLeftOut) return bytes;
  return sealed(Cookie.encode({ ...cookie, memoryKey: keyOf(cookie), keyLeftOut: false }).finish(), proof);
}

/** What the receiver knows that the cookie must agree with. */
export interface CookieExpectation {
  /** The phase that must have made it. */
  readonly from: Phase;
  readonly migrationId: string;
  /** Absent where the receiver has not seen the domain yet. */
  readonly domainUuid?: string;
  /** Absent where the receiver learns it from this cookie. */
  readonly run?: string;
  /** The receiver's own host; a cookie that the same host sent is refused (libvirt compares host UUIDs, not names). */
  readonly hostUuid: string;
  /** The key that it must have been made with; absent where it is known otherwise who gives it. */
  readonly key?: Uint8Array | undefined;
}

function decodeEnvelope(bytes: Uint8Array, from: Phase): CookieEnvelope {
  if (bytes.length === 0) {
    throw new MigrationError(
      'cookie-missing',
      `the cookie of phase ${from} is missing: pass on what that phase returned`,
    );
  }
  if (bytes.length > bytesMax) {
    throw new MigrationError('cookie-damaged', `the cookie has ${bytes.length} bytes; at most ${bytesMax} are allowed`);
  }
  try {
    const envelope = CookieEnvelope.decode(bytes);
    if (envelope.magic === magic && envelope.version > 0) return envelope;
  } catch (cause) {
    throw new MigrationError('cookie-damaged', `the cookie of phase ${from} cannot be read; pass it on unchanged`, {
      cause,
    });
  }
  throw new MigrationError(
    'cookie-damaged',
    `this is no cookie of phase ${from}; pass on what that phase returned, unchanged`,
  );
}

function decodeContent(envelope: CookieEnvelope, from: Phase): Cookie {
  if (!isSame(envelope.digest, digestOf(envelope.content, envelope.proof).subarray(0, digestBytes))) {
    throw new MigrationError(
      'cookie-damaged',
      `the cookie of phase ${from} was changed or cut on its way; pass it on unchanged`,
    );
  }
  try {
    return Cookie.decode(envelope.content);
  } catch (cause) {
    throw new MigrationError('cookie-damaged', `the content of the cookie of phase ${from} cannot be read`, { cause });
  }
}

/**
 * Reads a cookie. Throws MigrationError: cookie-missing, cookie-damaged, cookie-version (a newer agent made it), cookie-feature (names the
 * feature), cookie-foreign (of another phase, migration or domain), same-host, cookie-forged (not made with the expected key).
 */
export function decodeCookie(bytes: Uint8Array, expected: CookieExpectation): Cookie {
  const envelope = decodeEnvelope(bytes, expected.from);
  if (envelope.version !== version) {
    throw new MigrationError(
      'cookie-version',
      `the cookie has version ${envelope.version}, this agent knows version ${version}: upgrade this host's agents first`,
    );
  }
  const cookie = decodeContent(envelope, expected.from);
  const unknown = cookie.mandatoryFeatures.filter((feature) => !known.has(feature));
  if (unknown.length > 0) {
    throw new MigrationError(
      'cookie-feature',
      `host ${cookie.hostName} requires features that this agent does not know: ${unknown.join(', ')}; upgrade this host's agents`,
    );
  }
  const foreign = (what: string, is: string, shouldBe: string): MigrationError =>
    new MigrationError('cookie-foreign', `the cookie is of ${what} ${is}, this call is for ${shouldBe}`);
  if (cookie.phase !== phaseNumber[expected.from]) throw foreign('phase', String(cookie.phase), expected.from);
  if (cookie.migrationId !== expected.migrationId) throw foreign('migration', cookie.migrationId, expected.migrationId);
  if (expected.domainUuid !== undefined && cookie.domainUuid !== expected.domainUuid) {
    throw foreign('domain', cookie.domainUuid, expected.domainUuid);
  }
  if (expected.run !== undefined && cookie.run !== expected.run) throw foreign('run', cookie.run, expected.run);
  if (cookie.hostUuid === expected.hostUuid) {
    throw new MigrationError(
      'same-host',
      `source and destination are the same host (UUID ${cookie.hostUuid}, ${cookie.hostName}): choose another destination, or give each host its own FERRY_HOST_UUID`,
    );
  }
  const { key } = expected;
  if (key !== undefined && !isSame(envelope.proof, proofBy(key, digestOf(envelope.content))))
    throw forged(expected.from, cookie);
  return cookie;
}

/** A cookie whose content no agent of its migration vouches for. */
export const forged = (
  from: Phase,
  { hostName, migrationId }: Pick<Cookie, 'hostName' | 'migrationId'>,
): MigrationError =>
  new MigrationError(
    'cookie-forged',
    `the cookie of phase ${from} was not made by the agent of host ${hostName} for migration ${migrationId}: pass on what that phase returned, unchanged`,
  );
