/** What an agent's life holds instead of an ioredis client: commands travel, are carried out or not, and answered or not. */
import type { Redis } from 'ioredis';
import type { LuaValue } from './lua.ts';
import { type RedisServer, ReplyError } from './redis-server.ts';
import type { Life } from './timeline.ts';
import type { World } from './world.ts';

/** How commands fare now on their way between a host and its Redis. */
export type RedisWay =
  | 'open'
  /** The connection is refused: commands fail at once. */
  | 'refused'
  /** Nothing comes back, and nothing arrives. */
  | 'silent'
  /** Commands arrive, answers don't. */
  | 'deaf'
  /** Commands arrive late, long after their caller gave up. */
  | 'late';

/** How late. */
const lateMs = { least: 900, most: 5_000 };

/** An ioredis client as far as Ferry uses one, of one life on one host. */
export function redisClient(world: World, life: Life, host: string): Redis {
  const send = <T>(name: string, carryOut: (server: RedisServer) => T): Promise<T> =>
    command(world, life, host, name, carryOut);
  const client: Record<string, unknown> = {
    status: 'ready',
    on: (event: string, listener: () => void) => {
      if (event === 'ready') connected(world, life, host, listener);
      return client;
    },
    ping: () => send('ping', () => 'PONG'),
    hgetall: (key: string) => send('hgetall', (server) => server.hash(key)),
    hgetBuffer: (key: string, field: string) => send('hget', (server) => server.field(key, field)),
    scan: (_cursor: string, _match: string, glob: string) =>
      send('scan', (server): [string, string[]] => ['0', server.keys().filter((key) => matches(glob, key))]),
    defineCommand: (name: string, { numberOfKeys, lua }: { numberOfKeys: number; lua: string }) => {
      client[name] = (...words: (string | Buffer)[]) => {
        const keys = words.slice(0, numberOfKeys).map(String);
        const args = words.slice(numberOfKeys);
        world.rules.sending(name, keys);
        return send(name, (server) =>
          world.rules.script(name, server, keys, args, () => replyOf(server.run(lua, keys, args))),
        );
      };
    },
  };
  return client as unknown as Redis;
}

/** The first connection, and each that is made after one broke. */
function connected(world: World, life: Life, host: string, listener: () => void): void {
  const ready = (): void => {
    world.timeline.after(life, world.random.scale(1, 500), listener);
  };
  const listening = world.redis.onConnection(host, ready);
  life.atDeath.push(() => listening[Symbol.dispose]());
  ready();
}

/** The patterns of the keys in use have one star, or two that stand for any text. */
function matches(glob: string, key: string): boolean {
  const [head = '', ...tails] = glob.split('*');
  if (!key.startsWith(head)) return false;
  let at = head.length;
  for (const tail of tails) {
    at = key.indexOf(tail, at);
    if (at === -1) return false;
    at += tail.length;
  }
  return at === key.length;
}

/** As ioredis gives a script's reply: Lua's false ends a list, numbers are whole. */
function replyOf(value: LuaValue): unknown {
  if (!Array.isArray(value)) return value === false ? null : value;
  const end = value.findIndex((item) => item === undefined);
  return (end === -1 ? value : value.slice(0, end)).map(replyOf);
}

function command<T>(
  world: World,
  life: Life,
  host: string,
  name: string,
  carryOut: (server: RedisServer) => T,
): Promise<T> {
  const { timeline } = world;
  const label = `${life.name} redis ${name}`;
  return new Promise<T>((resolve, reject) => {
    world.boundary(label, 'before');
    if (life.dead) return;
    const way = world.redis.wayOf(host);
    const server = world.redis.serverOf(host);
    if (way === 'refused' || server === undefined) {
      timeline.after(life, 0.05, () =>
        reject(new Error("Stream isn't writeable and enableOfflineQueue options is false")),
      );
      return;
    }
    const answer = (run: () => void): void => {
      if (way === 'deaf' || world.redis.loseReply(host)) return;
      timeline.after(life, world.random.scale(0.05, 0.5), run);
    };
    if (way === 'silent') return;
    const outMs = way === 'late' ? world.random.scale(lateMs.least, lateMs.most) : world.random.scale(0.05, 0.5);
    timeline.after(undefined, outMs, () => {
      // The server of then, not another one; one that has crashed meanwhile takes the command with it.
      if (world.redis.hasEnded(server)) {
        timeline.after(life, 0.05, () => reject(new Error('Connection is closed.')));
        return;
      }
      let reply: T;
      try {
        const refusal = world.redis.refusalFor(host);
        if (refusal !== undefined) throw new ReplyError(refusal);
        reply = carryOut(server);
        world.trace?.(`${label} → ${JSON.stringify(reply)}`);
      } catch (error) {
        // What this Redis does not know is a defect of the simulation.
        if (!(error instanceof ReplyError)) world.rules.internal(life, name, error);
        answer(() => reject(error));
        return;
      }
      world.boundary(label, 'after');
      answer(() => resolve(reply));
    });
  });
}
