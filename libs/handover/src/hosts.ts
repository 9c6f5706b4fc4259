/** Which host has which name: everything in Redis is kept by the names of hosts, so that two hosts of one name would take each other's guests. */
import type { Redis, Result } from 'ioredis';
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
  }
}

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
}
