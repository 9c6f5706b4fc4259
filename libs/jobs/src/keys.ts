import { tagOf } from '@ferry/redis';

/** The Redis keys of a domain on a host. All carry the domain's UUID as hash tag, so that a script may touch any of them. */
export interface DomainKeys {
  /** The async job that holds the domain here (hash). */
  readonly slot: string;
  /** That job's lease (string, expires). */
  readonly lease: string;
  /** The short job that runs here (hash, expires). */
  readonly short: string;
  /** What is known of a migration here (hash, outlives the lease). */
  readonly record: (migrationId: string) => string;
  /** The digest of a request that was carried out here under an id of its caller's (string, expires). */
  readonly request: (requestId: string) => string;
}

/** Matches the records of all migrations of a domain, on whichever host, for SCAN. */
export const recordsOf = (domain: string): string => `ferry:{${domain}}:migration:*`;

/** Matches the slots of all domains on a host, for SCAN; a host's name has none of the letters that mean something in a pattern. */
export const slotsOf = (host: string): string => `ferry:{*}:job:${host}`;

export function keysOf(domain: string, host: string): DomainKeys {
  const at = tagOf(domain);
  return {
    slot: `${at}:job:${host}`,
    lease: `${at}:lease:${host}`,
    short: `${at}:short:${host}`,
    record: (migrationId) => `${at}:migration:${migrationId}:${host}`,
    request: (requestId) => `${at}:request:${requestId}:${host}`,
  };
}
