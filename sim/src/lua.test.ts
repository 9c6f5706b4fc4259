/** The scripts run here as in Redis: the same replies, and the same left behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { compileLua } from './lua.ts';
import { Random } from './random.ts';
import { RedisServer } from './redis-server.ts';

/** For a host that was renamed, or is forgotten: the simulation's hosts keep their names. */
const notPlayed: ReadonlySet<string> = new Set(['host-rename.lua', 'host-forget.lua', 'host-drop-job.lua']);

const libs = join(import.meta.dirname, '../../libs');
const scriptsOf = (lib: string) => {
  const dir = join(libs, lib, 'src/scripts');
  return readdirSync(dir)
    .filter((file) => !notPlayed.has(file))
    .map((file) => ({ file, lua: readFileSync(join(dir, file), 'utf8') }));
};
const isHead = ({ file }: { readonly file: string }) => file === 'incarnation.lua';
const handover = scriptsOf('handover');
const head = handover.find(isHead)?.lua;
const scripts = [
  ...handover.filter((script) => !isHead(script)).map(({ file, lua }) => ({ file, lua: `${head}\n${lua}` })),
  ...scriptsOf('jobs'),
];

/** Each key by the name that the scripts' headers give it, so that one script finds what another left. */
function keysIn(lua: string): string[] {
  const header = /^-- KEYS[^]*?(?=^-- (?:ARGV|Replies))/m.exec(lua)?.[0] ?? '';
  return [...header.matchAll(/\d (\w+)/g)].map(([, name]) => `k:${name}`);
}

const steps = 4_000;
const never = '600000';
const at = /\b\d{13}\b/g;

let server: PrivateRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

describe('a compiled script', () => {
  it('answers and leaves behind what it does in Redis', async () => {
    const redis = server.client();
    const runId = /run_id:(\w+)/.exec(await redis.info('server'))?.[1] ?? '';
    const replId = /master_replid:(\w+)/.exec(await redis.info('replication'))?.[1] ?? '';
    const here = new RedisServer(runId, replId, () => 1_800_000_000_000);
    const { incarnation } = here;
    const seed = Math.floor(Math.random() * 2 ** 32);
    const random = new Random(seed);
    const texts =
      't1 t1 t2 m1 m2 none begin3 perform3 start carried recorded committed source dest MIGRATION_OUT destroy a b';
    const words: [string, ...string[]] = [
      incarnation,
      incarnation,
      incarnation,
      'older',
      ' destroy query ',
      '',
      ...texts.split(' '),
    ];
    for (let step = 0; step < steps; step += 1) {
      const { file, lua } = scripts[random.below(scripts.length)] ?? { file: '', lua: '' };
      const keys = keysIn(lua);
      // The second is the time to live wherever there is one.
      const args = Array.from({ length: 10 }, (_, i) => (i === 1 ? never : random.pick(words)));
      if (random.chance(0.02)) {
        await redis.flushall();
        here.flush();
      }
      const there = await redis.eval(lua, keys.length, ...keys, ...args).catch((error: Error) => error.name);
      const reply = answered(here, lua, keys, args);
      const what = `seed ${seed}, step ${step}: ${file} ${JSON.stringify(args)}`;
      expect([what, plain(reply)]).toEqual([what, plain(there)]);
      for (const key of keys) {
        const kept = (await redis.type(key)) === 'string' ? await redis.get(key) : await redis.hgetall(key);
        const held = here.run("return { redis.call('EXISTS', KEYS[1]) }", [key], []);
        const keptHere = typeof kept === 'string' ? textOf(here, key) : here.hash(key);
        expect([what, plain(keptHere)]).toEqual([what, plain(kept)]);
        expect(held).toEqual([await redis.exists(key)]);
      }
    }
  });

  it.each([
    ['a loop that it does not know', 'while true do end'],
    ['a function that it does not know', "return { string.rep('a', 3) }"],
    ['a pattern that it does not know', "return { string.match('a', '%d+') }"],
  ])('with %s is refused', (_what, lua) => {
    expect(() => compileLua(lua, 'test')(() => undefined, [], [])).toThrow();
  });
});

const textOf = (server_: RedisServer, key: string): unknown =>
  (server_.run("return { redis.call('GET', KEYS[1]) }", [key], []) as unknown[])[0];

function answered(here: RedisServer, lua: string, keys: readonly string[], args: readonly string[]): unknown {
  try {
    return here.run(lua, keys, args);
  } catch (error) {
    // Redis calls whatever a script throws an error reply.
    return error instanceof Error ? 'ReplyError' : error;
  }
}

/** Without the time, which is another one; Lua's nil and false are null in a reply. */
function plain(value: unknown): unknown {
  const texts = JSON.stringify(value, (_key, each: unknown) => (each === false || each === undefined ? null : each));
  return JSON.parse((texts ?? 'null').replaceAll(at, 'T')) as unknown;
}
