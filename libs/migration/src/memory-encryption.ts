/** How a guest's memory is encrypted between the two QEMUs. */
import type { Cookie } from '@ferry/proto/ferry/v1/cookie';
import { MemoryTls } from '@ferry/proto/ferry/v1/migration';
import { MigrationError } from './errors.ts';
import type { MigrationUri } from './uri.ts';

export type MemoryEncryption =
  | { readonly kind: 'none' }
  /** With a key that only the two QEMUs of this run have, 64 hexadecimal digits. */
  | { readonly kind: 'key'; readonly key: string }
  /** With the certificates in this directory, in QEMU's layout. */
  | { readonly kind: 'x509'; readonly dir: string };

/** What a host's configuration says of it. */
export interface EncryptionRules {
  readonly host: { readonly name: string };
  readonly requireTls: boolean;
  readonly memoryTlsDir: string | undefined;
}

const keyPattern = /^[0-9a-f]{64}$/;

const refused = (message: string): MigrationError => new MigrationError('memory-not-encrypted', message);

/**
 * What a caller asks for, as this host does it; `key` is given where a cookie can carry one. Throws MigrationError memory-not-encrypted,
 * invalid-request.
 */
export function encryptionAsked(
  asked: MemoryTls | undefined,
  rules: EncryptionRules,
  uri: Pick<MigrationUri, 'kind'>,
  key?: string,
): MemoryEncryption {
  switch (asked ?? MemoryTls.MEMORY_TLS_UNSPECIFIED) {
    case MemoryTls.MEMORY_TLS_UNSPECIFIED:
      return key === undefined ? inTheClear(rules, 'protocol v2 has no cookie to carry a key') : { kind: 'key', key };
    case MemoryTls.MEMORY_TLS_X509:
      return certificates(rules, uri);
    case MemoryTls.MEMORY_TLS_NONE:
      return inTheClear(rules, 'the caller asks for none');
    case MemoryTls.UNRECOGNIZED:
      throw new MigrationError('invalid-request', `memory_tls is ${asked}, which this agent does not know`);
  }
}

/** What the destination expects, by Prepare's cookie. Throws MigrationError memory-not-encrypted, cookie-damaged. */
export function encryptionExpected(
  cookie: Cookie,
  rules: EncryptionRules,
  uri: Pick<MigrationUri, 'kind'>,
): MemoryEncryption {
  const { memoryKey: key, memoryTls } = cookie;
  if (key === '') {
    return memoryTls === MemoryTls.MEMORY_TLS_X509
      ? certificates(rules, uri)
      : inTheClear(rules, `the destination, host ${cookie.hostName}, expects none`);
  }
  if (!keyPattern.test(key)) throw new MigrationError('cookie-damaged', 'Prepare’s cookie carries no key of ours');
  return { kind: 'key', key };
}

function certificates({ host, memoryTlsDir: dir }: EncryptionRules, uri: Pick<MigrationUri, 'kind'>): MemoryEncryption {
  if (dir === undefined)
    throw refused(`host ${host.name} has no certificates for memory traffic: set FERRY_MEMORY_TLS_DIR there`);
  // Who listens at a socket's path has no name that a certificate could be compared with.
  if (uri.kind === 'unix') throw refused('certificates are for tcp: URIs: leave the URI to the destination');
  return { kind: 'x509', dir };
}

function inTheClear({ host, requireTls }: EncryptionRules, why: string): MemoryEncryption {
  if (!requireTls) return { kind: 'none' };
  throw refused(
    `host ${host.name} requires encrypted memory traffic (FERRY_REQUIRE_TLS), and ${why}: use v3, or certificates on both hosts (--tls)`,
  );
}
