/** The agents' Redis as a site would run it: a user of their own that can do what they need and nothing else, and TLS. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, eventually, freePort, World } from './world.ts';

let world: World;
let port: number;
beforeEach(async () => {
  world = await World.start({ agents: 'not-started' });
  await world.lab.redis.start();
  port = await freePort();
});
afterEach(() => world[Symbol.asyncDispose]());

const startAgents = (env: Record<string, string>) =>
  Promise.all([world.a, world.b].flatMap(({ source, dest }) => [source.start(env), dest.start(env)]));

/** What users do with guests: started, moved by either protocol, looked for, ended. */
async function useEverything(): Promise<void> {
  const guest = await world.boot(world.a);
  for (const protocol of [Protocol.PROTOCOL_V3, Protocol.PROTOCOL_V2]) {
    const [from, to] = protocol === Protocol.PROTOCOL_V3 ? [world.a, world.b] : [world.b, world.a];
    expect(endOf(await world.migrate(guest, { protocol }, from, to)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, to);
  }
  expect((await callsOf(world.a).where(guest.name)).map(({ host }) => host)).toEqual(['a']);
  expect(await callsOf(world.b).history(guest.uuid)).toHaveLength(4);
  await callsOf(world.a).destroy(guest.uuid);
}

it('a user of docs/operations.md’s ACL can do what the agents need, and nothing else', async () => {
  const admin = world.lab.redis.client;
  const page = readFileSync(join(import.meta.dirname, '../docs/operations.md'), 'utf8');
  const rule = (/`(ACL SETUSER ferry [^`]*)`/.exec(page)?.[1] ?? '')
    .replace('PASSWORD', 'secret')
    .replaceAll('\\|', '|');
  await admin.call('ACL', ...rule.split(' ').slice(1));
  await admin.config('SET', 'port', String(port));
  const url = `redis://ferry:secret@127.0.0.1:${port}`;
  await startAgents({ FERRY_REDIS_URL: url });
  await useEverything();
  // CONFIG may be refused: then the agents say once that they cannot look at Redis' settings.
  const denied = (await admin.call('ACL', 'LOG')) as string[][];
  expect(denied.map((entry) => entry[entry.indexOf('object') + 1]).filter((what) => what !== 'config|get')).toEqual([]);

  const stranger = admin.duplicate({ username: 'ferry', password: 'secret' });
  try {
    for (const command of [
      ['FLUSHALL'],
      ['CONFIG', 'SET', 'maxmemory', '1'],
      ['KEYS', '*'],
      ['SET', 'other', '1'],
      ['EVAL', "return redis.call('GET', KEYS[1])", '1', 'other'],
      ['ACL', 'LIST'],
      ['REPLICAOF', 'NO', 'ONE'],
      ['SHUTDOWN'],
    ] as const) {
      const [name, ...args] = command;
      await expect(stranger.call(name, ...args)).rejects.toThrow(/NOPERM|No permissions|permission/i);
    }
  } finally {
    stranger.disconnect();
  }
});

it('TLS: agents use rediss://, and do not talk to a Redis whose certificate they cannot verify', async () => {
  const admin = world.lab.redis.client;
  const { ca, cert, key } = world.lab.tls;
  const files = { 'tls-ca-cert-file': ca, 'tls-cert-file': cert, 'tls-key-file': key, 'tls-auth-clients': 'no' };
  await admin.config('SET', ...Object.entries(files).flat(), 'tls-port', String(port));
  const FERRY_REDIS_URL = `rediss://localhost:${port}`;
  await startAgents({ FERRY_REDIS_URL, NODE_EXTRA_CA_CERTS: ca });
  await useEverything();
  await world.a.source.kill('SIGTERM');
  const starting = world.a.source.start({ FERRY_REDIS_URL, NODE_EXTRA_CA_CERTS: '' }).catch(() => undefined);
  await eventually('it says why it waits for Redis', () =>
    world.a.source.logs('this-life').some(({ err }) => /certificate/.test(JSON.stringify(err ?? ''))),
  );
  await world.a.source.kill();
  await starting;
});
