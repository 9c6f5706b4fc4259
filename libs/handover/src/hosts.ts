/** Which host has which name: everything in Redis is kept by the names of hosts, so that two hosts of one name would take each other's guests. */
import type { Redis, Result } from 'ioredis';
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
  }
}

/** The keys of a domain that end with a host's name. */
const hostKinds: ReadonlySet<string> = new Set(['job', 'lease', 'short', 'migration', 'request']);

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
    let cursor = '0';
    do {
      const scan = () => this.#redis.scan(cursor, 'MATCH', 'ferry:{*}:*', 'COUNT', 1_000);
      const [next, keys] = pageOf(await registerCall('scan for a host', scan, signal));
      for (const key of keys) await this.#renameKey(key, { from, to }, signal);
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
