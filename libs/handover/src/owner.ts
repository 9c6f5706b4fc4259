/** Who owns each guest: which host may run it, since which epoch, and on what evidence. One record a domain, in Redis. */
import { domainOfKey, isDomain } from '@ferry/redis';
import type { Redis, Result } from 'ioredis';
import { HandoverError } from './errors.ts';
import { ownerKeyOf, ownerKeys } from './keys.ts';
import { registerCall, wordsOf } from './register-call.ts';
import { scriptText } from './scripts.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    ferryOwnerClaim(owner: string, ...args: string[]): Result<unknown, Context>;
    ferryOwnerRelease(owner: string, ...args: string[]): Result<unknown, Context>;
    ferryOwnerLook(owner: string): Result<unknown, Context>;
    ferryOwnerAssert(owner: string, ...args: string[]): Result<unknown, Context>;
    ferryOwnerSettle(owner: string, ...args: string[]): Result<unknown, Context>;
  }
}

/** Each script's command; all take one key. */
const scripts = {
  'owner-claim': 'ferryOwnerClaim',
  'owner-release': 'ferryOwnerRelease',
  'owner-look': 'ferryOwnerLook',
  'owner-assert': 'ferryOwnerAssert',
  'owner-settle': 'ferryOwnerSettle',
} as const;

/** What is known of a guest that nobody owns any more is kept so long. Seconds. */
const releasedSeconds = String(7 * 24 * 60 * 60);
const scanCount = 1_000;

export interface Owner {
  /** UUID. */
  readonly domain: string;
  /** Empty if it is not known. */
  readonly name: string;
  /** Empty: nobody owns the guest since `sinceMs`. */
  readonly host: string;
  /** Grows by one each time the ownership is given anew. */
  readonly epoch: number;
  readonly evidence: string;
  readonly sinceMs: number;
  /** The life of Redis that the record was last written or confirmed under. */
  readonly incarnation: string;
  /** The migration in doubt for which its agents have asserted this record, since Redis had lost it; empty for an ordinary one. */
  readonly doubt: string;
  /** How it became the host's: the claim, a migration's commit, or an assertion; empty where it was not read. */
  readonly how: string;
}

/**
 * Why a host says that a guest is its own. `start`: it begins anew here. `keep`: it is here already and is to go on. `seen`: its QEMU
 * executes it here, which counts for more than a record that an older life of Redis wrote.
 */
export type Claim = 'start' | 'keep' | 'seen';

interface DomainNames {
  readonly uuid: string;
  readonly name: string;
}

/** How often a claim of what was decided is tried while the record changes. */
const claimTries = 3;

/** The ownership records as one host uses them. Every method throws HandoverError register-unavailable when Redis cannot be asked. */
export class OwnerRecords {
  readonly #redis: Redis;
  readonly #host: string;

  constructor(options: { redis: Redis; host: string }) {
    this.#redis = options.redis;
    this.#host = options.host;
    for (const [file, command] of Object.entries(scripts)) {
      this.#redis.defineCommand(command, { numberOfKeys: 1, lua: scriptText(file) });
    }
  }

  /** Calls `listener` whenever Redis answers again: it may have forgotten. */
  onBack(listener: () => void): void {
    this.#redis.on('ready', listener);
  }

  /**
   * Makes this host the owner, or finds that it is; checked and written in one step. A claim of what is this host's already is a new
   * epoch only for `start`. Throws HandoverError owned-elsewhere.
   */
  claim(domain: DomainNames, claim: Claim, evidence: string, signal: AbortSignal): Promise<Owner> {
    return this.#claim(domain, [evidence, claim], signal);
  }

  /**
   * The claim of a copy that was sent, before it continues: the two agents have decided so, which counts for more than a record that `mayTake`
   * accepts, or that names nobody. Throws HandoverError owned-elsewhere.
   */
  async claimDecided(
    domain: DomainNames,
    { migrationId, mayTake }: { readonly migrationId: string; readonly mayTake: (record: Owner) => boolean },
    signal: AbortSignal,
  ): Promise<Owner> {
    const evidence = `decided by migration ${migrationId}`;
    for (let tries = 1; ; tries += 1) {
      const seen = await this.of(domain.uuid, signal);
      const ours =
        seen === undefined || ['', this.#host].includes(seen.host) || seen.doubt === migrationId || mayTake(seen);
      if (!ours) throw ownedElsewhere({ ...seen, name: domain.name });
      const asSeen = seen === undefined ? ['', '', ''] : [seen.host, String(seen.epoch), String(seen.sinceMs)];
      try {
        return await this.#claim(domain, [evidence, 'decided', ...asSeen], signal);
      } catch (error) {
        // It has changed since it was read.
        if (!(error instanceof HandoverError) || error.kind !== 'owned-elsewhere' || tries === claimTries) throw error;
      }
    }
  }

  async #claim(domain: DomainNames, args: readonly string[], signal: AbortSignal): Promise<Owner> {
    const send = () => this.#redis.ferryOwnerClaim(ownerKeyOf(domain.uuid), this.#host, domain.name, ...args);
    const words = wordsOf(await registerCall('owner-claim', send, signal), 'owner-claim', ['ok', 'owned']);
    const owner = ownerFrom(domain.uuid, words);
    if (words[0] === 'owned') throw ownedElsewhere(owner);
    return owner;
  }

  /**
   * For the agents of a migration in doubt: the guest is the source's where Redis has lost the record, so that nobody starts it elsewhere. Whether
   * the record is now one that is asserted for this migration; it is to be settled when that ends.
   */
  async assert(
    domain: DomainNames,
    { migrationId, sourceHost }: { readonly migrationId: string; readonly sourceHost: string },
    signal: AbortSignal,
  ): Promise<boolean> {
    const evidence = `asserted by host ${this.#host} for migration ${migrationId}`;
    const send = () =>
      this.#redis.ferryOwnerAssert(ownerKeyOf(domain.uuid), sourceHost, domain.name, migrationId, evidence);
    const reply = await registerCall('owner-assert', send, signal);
    return wordsOf(reply, 'owner-assert', ['asserted', 'owner'])[0] === 'asserted';
  }

  /** The migration is in doubt no longer: what was asserted for it becomes an ordinary record of `host`, which has the guest by its decision. */
  async settle(domain: string, migrationId: string, host: string, signal: AbortSignal): Promise<void> {
    const evidence = `decided by migration ${migrationId}`;
    await this.#settle(domain, [migrationId, host, evidence, ''], signal);
  }

  /**
   * The copy on this host has ended while the migration was in doubt: the record is `host`'s from now on, the only one that may have the guest. Does
   * nothing to a record of another host's.
   */
  async cede(domain: string, migrationId: string, host: string, signal: AbortSignal): Promise<void> {
    const evidence = `its copy on host ${this.#host} was ended by its user while migration ${migrationId} was in doubt: host ${host} may have taken it over`;
    await this.#settle(domain, [migrationId, host, evidence, this.#host], signal);
  }

  async #settle(domain: string, args: readonly string[], signal: AbortSignal): Promise<void> {
    const send = () => this.#redis.ferryOwnerSettle(ownerKeyOf(domain), ...args);
    wordsOf(await registerCall('owner-settle', send, signal), 'owner-settle', ['ok']);
  }

  /** Throws HandoverError owned-elsewhere if another host owns the guest; before something is begun that `claim` would refuse at its end. */
  async refuseForeign(domain: DomainNames, signal: AbortSignal): Promise<void> {
    const owner = await this.of(domain.uuid, signal);
    if (owner !== undefined && owner.host !== '' && owner.host !== this.#host)
      throw ownedElsewhere({ ...owner, name: domain.name });
  }

  /**
   * Nobody owns the guest any more: it has ended, or a person says that its host is gone. Does nothing if the record has changed since it was
   * seen. Gives what the record says now.
   */
  async release(seen: Owner, why: string, signal: AbortSignal): Promise<Owner | undefined> {
    const { domain, host, epoch, sinceMs, incarnation } = seen;
    const args = [host, String(epoch), why, releasedSeconds, String(sinceMs), incarnation];
    const send = () => this.#redis.ferryOwnerRelease(ownerKeyOf(domain), ...args);
    const reply = await registerCall('owner-release', send, signal);
    const words = wordsOf(reply, 'owner-release', ['released', 'changed', 'none']);
    return words[0] === 'none' ? undefined : ownerFrom(domain, words);
  }

  /** Who owns a guest, since when, and on what evidence; undefined for one that nobody ever claimed. */
  async of(domain: string, signal: AbortSignal): Promise<Owner | undefined> {
    const reply = await registerCall('owner-look', () => this.#redis.ferryOwnerLook(ownerKeyOf(domain)), signal);
    const words = wordsOf(reply, 'owner-look', ['none', 'owner']);
    return words[0] === 'none' ? undefined : ownerFrom(domain, words);
  }

  /**
   * All records, page by page: a look at the whole keyspace, for an agent's start and for a name that no host knows. A record that is
   * damaged is given to `damaged` and left out: whoever can write one must not hide the others.
   */
  async *all(signal: AbortSignal, damaged: (domain: string, error: HandoverError) => void): AsyncIterable<Owner> {
    let cursor = '0';
    do {
      const scan = () => this.#redis.scan(cursor, 'MATCH', ownerKeys, 'COUNT', scanCount);
      const [next, keys] = pageOf(await registerCall('scan owners', scan, signal));
      const found = await Promise.all(keys.map((key) => this.#orDamaged(domainOfKey(key), damaged, signal)));
      yield* found.filter((owner) => owner !== undefined);
      cursor = next;
    } while (cursor !== '0');
  }

  async #orDamaged(
    domain: string,
    damaged: (domain: string, error: HandoverError) => void,
    signal: AbortSignal,
  ): Promise<Owner | undefined> {
    try {
      if (!isDomain(domain)) throw new HandoverError('register-reply', `the key of an ownership record names no UUID`);
      return await this.of(domain, signal);
    } catch (error) {
      if (!(error instanceof HandoverError) || error.kind !== 'register-reply') throw error;
      damaged(domain.slice(0, 100), error);
      return undefined;
    }
  }
}

/** A page of SCAN. */
export function pageOf(reply: unknown): [cursor: string, keys: string[]] {
  const [cursor, keys]: unknown[] = Array.isArray(reply) ? reply : [];
  if (typeof cursor === 'string' && Array.isArray(keys))
    return [cursor, keys.filter((key): key is string => typeof key === 'string')];
  throw new HandoverError('register-reply', 'Redis answered SCAN with something else');
}

function ownerFrom(domain: string, words: readonly string[]): Owner {
  const [, host = '', epoch = '', evidence = '', sinceMs = '', name = '', incarnation = '', doubt = '', how = ''] =
    words;
  if (!/^\d{1,15}$/.test(epoch) || !/^\d{1,14}(\.\d+)?$/.test(sinceMs)) {
    const message = `the ownership record of domain ${domain} is damaged (epoch ${JSON.stringify(epoch.slice(0, 40))}, since ${JSON.stringify(sinceMs.slice(0, 40))})`;
    throw new HandoverError(
      'register-reply',
      `${message}: delete it in Redis; the host that runs the guest claims it again`,
    );
  }
  return { domain, name, host, epoch: Number(epoch), evidence, sinceMs: Number(sinceMs), incarnation, doubt, how };
}

function ownedElsewhere({ domain, name, host, epoch, evidence, sinceMs, doubt }: Owner): HandoverError {
  if (doubt !== '') {
    const copies = `domain ${name} (${domain}) belongs to host ${host}: its migration ${doubt} has not ended, so that a copy of it may still run`;
    return new HandoverError(
      'owned-elsewhere',
      `${copies}: wait until it ends, or settle it with ferry resolve ${doubt}`,
    );
  }
  const since = new Date(sinceMs).toISOString();
  const message = `domain ${name} (${domain}) belongs to host ${host} since ${since} (epoch ${epoch}: ${evidence})`;
  return new HandoverError(
    'owned-elsewhere',
    `${message}: end it there, or migrate it; if ${host} is gone for good, say so with Forget`,
  );
}
