/** Which host has which name: everything in Redis is kept by the names of hosts, so that two hosts of one name would take each other's guests. */
import type { Redis, Result } from 'ioredis';
import { HandoverError } from './errors.ts';
import { pageOf } from './owner.ts';
import { registerCall, wordsOf } from './register-call.ts';
import { scriptText } from './scripts.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    ferryHostRegister(
      name: string,
      nameAlive: string,
      uuid: string,
      uuidAlive: string,
      ...args: string[]
    ): Result<unknown, Context>;
    ferryHostRename(key: string, renamed: string, ...args: string[]): Result<unknown, Context>;
    ferryHostForget(name: string, nameAlive: string, uuid: string, ...args: string[]): Result<unknown, Context>;
    ferryHostDropJob(slot: string, lease: string, record: string, ...args: string[]): Result<unknown, Context>;
  }
}

/** The keys of a domain that end with a host's name. */
const hostKinds: ReadonlySet<string> = new Set(['job', 'lease', 'short', 'migration', 'request']);

/** The records of a migration whose job is dropped are kept so long. Seconds. */
const recordSeconds = String(7 * 24 * 60 * 60);

/** What a host's name may be made of: none of it means something in a pattern of SCAN. */
const namePattern = /^[A-Za-z0-9._-]{1,253}$/;

/** A host that has not been heard of for so long is not alive, ms. */
const aliveMs = 15_000;

/**
 * `taken`: another UUID is alive under the name. `cloned`: the UUID is alive under another name. `left`: another UUID had the name. `renamed`: the
 * UUID had another name. `by` is that UUID or name.
 */
export interface Registration {
  readonly answer: 'ok' | 'taken' | 'cloned' | 'left' | 'renamed';
  readonly by: string;
}

export class HostNames {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
    redis.defineCommand('ferryHostRegister', { numberOfKeys: 4, lua: scriptText('host-register') });
    redis.defineCommand('ferryHostRename', { numberOfKeys: 2, lua: scriptText('host-rename') });
    redis.defineCommand('ferryHostForget', { numberOfKeys: 3, lua: scriptText('host-forget') });
    redis.defineCommand('ferryHostDropJob', { numberOfKeys: 3, lua: scriptText('host-drop-job') });
  }

  /** To be repeated every few seconds. `take`: what was known of a host that is not alive is replaced. Throws HandoverError register-unavailable. */
  async register(
    { name, uuid }: { readonly name: string; readonly uuid: string },
    how: 'ask' | 'take',
    signal: AbortSignal,
  ): Promise<Registration> {
    const [byName, byUuid] = [`ferry:host:${name}`, `ferry:host-uuid:${uuid}`];
    const send = () =>
      this.#redis.ferryHostRegister(
        byName,
        `${byName}:alive`,
        byUuid,
        `${byUuid}:alive`,
        uuid,
        String(aliveMs),
        name,
        how,
      );
    const reply = await registerCall('host-register', send, signal);
    const [answer, by = ''] = wordsOf(reply, 'host-register', ['ok', 'taken', 'cloned', 'left', 'renamed']);
    return { answer, by };
  }

  /** The UUID of the host that had a name last; empty for none. Throws HandoverError register-unavailable. */
  async uuidOf(name: string, signal: AbortSignal): Promise<string> {
    const reply = await registerCall('look at a host', () => this.#redis.get(`ferry:host:${name}`), signal);
    return typeof reply === 'string' ? reply : '';
  }

  /**
   * What is kept under a name that this host had is kept under its new one: ownership, jobs, records, and the records of migrations that are open. To be
   * done before the new name is registered; repeated it finds less. Throws HandoverError register-unavailable.
   */
  async rename(from: string, to: string, signal: AbortSignal): Promise<void> {
    for await (const key of this.#keys('ferry:{*}:*', signal)) await this.#renameKey(key, { from, to }, signal);
  }

  /**
   * Drops the registration of a host that is gone for good, and its jobs, whose leases have run out: nobody will go on with them. Repeated after an
   * error it does what is left. Gives the host's UUID. Throws HandoverError host-unknown | host-alive | register-unavailable.
   */
  async forget(name: string, signal: AbortSignal): Promise<string> {
    const uuid = namePattern.test(name) ? await this.uuidOf(name, signal) : '';
    if (uuid === '') throw unknownHost(name);
    const byName = `ferry:host:${name}`;
    if ((await registerCall('look at a host', () => this.#redis.get(`${byName}:alive`), signal)) !== null)
      throw aliveHost(name, 'its agents serve');
    for (const kind of ['lease', 'short'])
      for await (const key of this.#keys(`ferry:{*}:${kind}:${name}`, signal))
        throw aliveHost(name, `its agents hold a lease (${key})`);
    for await (const slot of this.#keys(`ferry:{*}:job:${name}`, signal)) await this.#dropJob(slot, name, signal);
    const send = () => this.#redis.ferryHostForget(byName, `${byName}:alive`, `ferry:host-uuid:${uuid}`, uuid, name);
    const reply = await registerCall('host-forget', send, signal);
    const [answer] = wordsOf(reply, 'host-forget', ['forgotten', 'alive', 'changed']);
    if (answer !== 'forgotten') throw aliveHost(name, 'its agents have registered it just now');
    return uuid;
  }

  async #dropJob(slot: string, name: string, signal: AbortSignal): Promise<void> {
    const domain = slot.slice(0, slot.indexOf('}:') + 1);
    const migration = await registerCall('look at a job', () => this.#redis.hget(slot, 'migration'), signal);
    const id = typeof migration === 'string' ? migration : '';
    const [lease, record] = [`${domain}:lease:${name}`, `${domain}:migration:${id}:${name}`];
    const send = () => this.#redis.ferryHostDropJob(slot, lease, record, id, recordSeconds);
    const reply = await registerCall('host-drop-job', send, signal);
    const [answer] = wordsOf(reply, 'host-drop-job', ['dropped', 'leased', 'changed']);
    if (answer !== 'dropped') throw aliveHost(name, `its agents hold a lease (${lease})`);
  }

  async *#keys(pattern: string, signal: AbortSignal): AsyncIterable<string> {
    let cursor = '0';
    do {
      const scan = () => this.#redis.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000);
      const [next, keys] = pageOf(await registerCall('scan for a host', scan, signal));
      yield* keys;
      cursor = next;
    } while (cursor !== '0');
  }

  async #renameKey(key: string, { from, to }: { from: string; to: string }, signal: AbortSignal): Promise<void> {
    const [kind = '', ...rest] = key.slice(key.indexOf('}:') + 2).split(':');
    const isInside = kind === 'owner' || kind === 'handover';
    if (!isInside && (!hostKinds.has(kind) || rest.at(-1) !== from)) return;
    const renamed = isInside ? key : `${key.slice(0, -from.length)}${to}`;
    const send = () => this.#redis.ferryHostRename(key, renamed, from, to);
    wordsOf(await registerCall('host-rename', send, signal), 'host-rename', ['ok']);
  }
}

const unknownHost = (name: string): HandoverError =>
  new HandoverError(
    'host-unknown',
    `no host ${JSON.stringify(name.slice(0, 100))} is registered: FERRY_HOST of its agents is its name`,
  );

const aliveHost = (name: string, why: string): HandoverError =>
  new HandoverError(
    'host-alive',
    `host ${name} is not gone: ${why}; end its agents and wait for 15 s, and until its leases have run out`,
  );
