/** Jobs whose record in Redis lacks what it had, and of which no journal is left: they are settled, or shown in doubt. Real agents, QEMUs and Redis. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, eventually, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = Protocol.PROTOCOL_V2;
const v3 = Protocol.PROTOCOL_V3;
type Version = typeof v2 | typeof v3;

let world: World;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_IDLE_MS: '2000', FERRY_LEASE_MS: '2000' } });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

interface Names {
  readonly migrationId: string;
  readonly domain: string;
}
const newNames = (guest: TestGuest): Names => ({ migrationId: randomUUID(), domain: guest.uuid });

async function prepared(names: Names, protocol: Version) {
  const a = callsOf(world.a);
  const begun =
    protocol === v3
      ? await a.begin({ ...names, options: undefined })
      : { ...(await a.dumpXml(names)), cookieOut: none };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  return callsOf(world.b).prepare({ migrationId: names.migrationId, protocol, ...place });
}

/** Everything up to Finish: the guest is paused on both hosts. */
async function sent(names: Names, protocol: Version): Promise<void> {
  const { cookieOut, migrationUri } = await prepared(names, protocol);
  const way = { cookieIn: cookieOut, migrationUri, options: undefined };
  await callsOf(world.a).perform({ ...names, protocol, ...way });
}

const recordOf = ({ domain, migrationId }: Names, host: LabHost) =>
  `ferry:{${domain}}:migration:${migrationId}:${host.name}`;
const loseJournal = (host: LabHost, side: 'source' | 'dest', { migrationId }: Names) =>
  rm(join(host.stateDir, 'handover', side, `${migrationId}.json`));

describe('a job whose record Redis has evicted, on the source', () => {
  it('before anything was sent: it ends', async () => {
    const guest = await world.boot(world.a);
    const names = newNames(guest);
    await callsOf(world.a).begin({ ...names, options: undefined });
    await world.a.source.kill('SIGKILL');
    await world.lab.redis.client.del(recordOf(names, world.a));
    await world.a.source.start();
    await world.expectSettled(guest, world.a);
  });

  it.each([
    ['version 3', v3],
    ['version 2', v2],
  ] as const)('after the vote, and the journal with it: the destination is asked, %s', async (_version, protocol) => {
    const guest = await world.boot(world.a);
    const names = newNames(guest);
    await sent(names, protocol);
    await world.a.source.kill('SIGKILL');
    await world.lab.redis.client.del(recordOf(names, world.a));
    await loseJournal(world.a, 'source', names);
    await world.a.source.start();
    await world.expectSettled(guest, world.a);
  });
});

it('a job that was taken up from the journal keeps in its record what yet another life of the agent needs', async () => {
  const guest = await world.boot(world.a);
  const names = newNames(guest);
  const { client } = world.lab.redis;
  await sent(names, v3);
  const before = await client.hgetall(recordOf(names, world.a));
  world.b.dest.signal('SIGSTOP');
  await world.a.source.kill('SIGKILL');
  await client.del(
    ...(await client.keys(`ferry:{${guest.uuid}}:*:a`)),
    ...(await client.keys(`*:handover:${names.migrationId}`)),
  );
  await world.a.source.start();
  const kept = await eventually('its job is taken up', async () => {
    const record = await client.hgetall(recordOf(names, world.a));
    return record['option:protocol'] === undefined ? undefined : record;
  });
  // Who asked for it, and in which trace: no decision needs it.
  const inNoJournal = new Set(['option:requester', 'option:traceparent']);
  const options = (record: Record<string, string>) =>
    Object.entries(record).filter(([name]) => name.startsWith('option:') && !inNoJournal.has(name));
  expect(new Map(options(kept))).toEqual(new Map(options(before)));

  await world.a.source.kill('SIGKILL');
  await loseJournal(world.a, 'source', names);
  world.b.dest.signal('SIGCONT');
  await world.a.source.start();
  await world.expectSettled(guest, world.a);
});
