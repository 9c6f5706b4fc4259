/** A guest in doubt is protected by its ownership: nobody starts it elsewhere, and no copy continues that somebody has started elsewhere. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol, Resolution } from '@ferry/proto/ferry/v1/migration';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

let world: World;
let guest: TestGuest;
const hostC = () => world.lab.host('c');
const redis = () => world.lab.redis.client;
const ownerKey = () => `ferry:{${guest.uuid}}:owner`;
const limits = { FERRY_LEASE_MS: '2000', FERRY_IDLE_MS: '4000' };
beforeAll(async () => {
  world = await World.start({ hosts: ['a', 'b', 'c'], env: limits });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  guest = await world.boot(world.a);
});
afterEach(async () => {
  for (const agent of [world.a.source, world.b.dest]) await agent.start().catch(() => undefined);
  for (const host of [world.a, world.b, hostC()])
    await callsOf(host)
      .destroy(guest.uuid)
      .catch(() => undefined);
});

/** Everything up to Finish: the guest is paused on both hosts. */
async function sent(protocol: Protocol) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const none = Buffer.alloc(0);
  const { domainXml, cookieOut } =
    protocol === Protocol.PROTOCOL_V3
      ? await callsOf(world.a).begin({ ...names, options: undefined })
      : { ...(await callsOf(world.a).dumpXml({ ...names, options: undefined })), cookieOut: none };
  const place = { domainXml, cookieIn: cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const performed = await callsOf(world.a).perform({ ...names, protocol, ...way });
  return { names, finish: { ...names, protocol, cookieIn: performed.cookieOut, cancelled: false } };
}

async function redisForgets(): Promise<void> {
  await world.lab.redis.kill();
  await world.lab.redis.start();
}

async function running(): Promise<string[]> {
  const found: string[] = [];
  for (const host of [world.a, world.b, hostC()]) {
    const domain = await world.domainOn(host, guest);
    if (domain?.state === DomainState.DOMAIN_STATE_RUNNING) found.push(host.name);
  }
  return found;
}

const outcomeOf = async (names: { migrationId: string; domain: string }) =>
  (await callsOf(world.a).get(names)).migration;
const untilInDoubt = (names: { migrationId: string; domain: string }) =>
  eventually('it is in doubt', async () => (await outcomeOf(names))?.outcome === Outcome.OUTCOME_IN_DOUBT);
const untilOver = (names: { migrationId: string; domain: string }) =>
  eventually('it is over', async () => {
    const migration = await outcomeOf(names);
    return migration?.active === false ? migration : undefined;
  });
const untilOnlyOn = (host: string) =>
  eventually(`only ${host} has a copy`, () => {
    const copies = world.lab.qemus().filter(({ domain }) => domain === guest.uuid);
    return copies.length === 1 && copies[0]?.host === host;
  });

const endQemuOn = (host: string): void => {
  for (const { domain, pid, host: at } of world.lab.qemus())
    if (domain === guest.uuid && at === host) process.kill(pid, 'SIGKILL');
};

/** The agent that is left asserts the source's ownership: Start on c is refused, and names the migration. */
async function expectRefusedOnC(migrationId: string): Promise<void> {
  await eventually('it is asserted', async () => (await redis().hget(ownerKey(), 'doubt')) === migrationId);
  await expectRefusedNow(migrationId);
}

async function expectRefusedNow(migrationId: string): Promise<void> {
  const refused = await refusal(callsOf(hostC()).start(guest.xml));
  expect(refused).toMatchObject({ reason: 'owned-elsewhere' });
  expect(refused.message).toContain(`its migration ${migrationId} has not ended`);
}

const protocols = [
  ['version 3', Protocol.PROTOCOL_V3],
  ['version 2', Protocol.PROTOCOL_V2],
] as const;

describe.each(protocols)('a guest in doubt, %s, of which Redis has lost everything', (_version, protocol) => {
  it.each([
    ['restarted without data', redisForgets, expectRefusedOnC],
    // An agent that has seen that the register has forgotten asserts first, and asks then.
    ['flushed', () => redis().flushall(), expectRefusedNow],
  ])(
    'is not started on a third host while its source waits for the destination: Redis was %s',
    async (_how, forget, expectRefused) => {
      const { names } = await sent(protocol);
      await world.b.dest.kill('SIGKILL');
      await forget();
      await untilInDoubt(names);
      await expectRefused(names.migrationId);
      await world.b.dest.start();
      await untilOver(names);
      expect(await running()).toEqual(['a']);
      await world.expectSettled(guest, world.a);
      expect(await redis().hgetall(ownerKey())).toMatchObject({ host: 'a' });
      expect(await redis().hget(ownerKey(), 'doubt')).toBeNull();
    },
  );

  it('is not started on a third host while only its destination is left', async () => {
    const { names } = await sent(protocol);
    await world.a.source.kill('SIGKILL');
    await redisForgets();
    await expectRefusedOnC(names.migrationId);
    await world.a.source.start();
    await untilOver(names);
    await eventually('one copy is left', async () => (await running()).length === 1);
    await world.expectSettled(guest, world.a);
  });
});

describe('a guest in doubt of which Redis has lost everything, and nobody asks before Finish comes', () => {
  const restartWith = async (env: Record<string, string>) => {
    for (const agent of [world.a.source, world.b.dest]) await agent.restart({ env });
  };
  beforeAll(() => restartWith({ FERRY_FINISH_MS: '600000', FERRY_IDLE_MS: '600000' }));
  afterAll(() => restartWith({ FERRY_FINISH_MS: '2000', ...limits }));

  it.each(protocols)('is taken over by the destination when it has been asserted, %s', async (_version, protocol) => {
    const { names, finish } = await sent(protocol);
    await redis().del(ownerKey());
    await expectRefusedOnC(names.migrationId);
    const { cookieOut } = await callsOf(world.b).finish(finish);
    if (protocol === Protocol.PROTOCOL_V3)
      await callsOf(world.a).confirm({ ...names, cookieIn: cookieOut, cancelled: false });
    await world.expectSettled(guest, world.b);
    expect(await redis().hgetall(ownerKey())).toMatchObject({ host: 'b' });
    expect(await redis().hget(ownerKey(), 'doubt')).toBeNull();
  });
});

describe('a guest that was started on a third host before the agents of its migration could assert anything', () => {
  async function startedOnC() {
    const { names } = await sent(Protocol.PROTOCOL_V3);
    await Promise.all([world.a.source.kill('SIGKILL'), world.b.dest.kill('SIGKILL')]);
    await redisForgets();
    await eventually('it is started on c', () => callsOf(hostC()).start(guest.xml));
    return names;
  }
  const lost = { active: false, outcome: Outcome.OUTCOME_GUEST_LOST, failure: { reason: 'owned-elsewhere' } };

  it('continues neither on its source nor on its destination', async () => {
    const names = await startedOnC();
    await Promise.all([world.a.source.start(), world.b.dest.start()]);
    await untilOnlyOn('c');
    const ended = await untilOver(names);
    expect(ended).toMatchObject(lost);
    expect(ended.failure?.message).toContain('was started on host c');
    expect(await running()).toEqual(['c']);
  });

  it('is ended on its source although the destination is gone for good', async () => {
    const names = await startedOnC();
    endQemuOn('b');
    await world.a.source.start();
    expect(await untilOver(names)).toMatchObject(lost);
    await untilOnlyOn('c');
    // The destination's host comes back after all.
    await world.b.dest.start();
    await eventually('it is over there, too', async () => {
      const { migration } = await callsOf(world.b).getIncoming(names);
      return migration?.active === false;
    });
    expect(await running()).toEqual(['c']);
  });

  it('is ended on its destination although the source is gone for good', async () => {
    const names = await startedOnC();
    endQemuOn('a');
    await world.b.dest.start();
    await untilOnlyOn('c');
    expect((await callsOf(world.b).getIncoming(names)).migration).toMatchObject(lost);
    // The source's host comes back after all.
    await world.a.source.start();
    expect(await untilOver(names)).toMatchObject(lost);
    expect(await running()).toEqual(['c']);
  });
});

it('a record of a third host that is not provably newer ends no copy, and lets none continue', async () => {
  const { names } = await sent(Protocol.PROTOCOL_V3);
  await world.b.dest.kill('SIGKILL');
  const owner = await redis().hgetall(ownerKey());
  await redis().flushall();
  await redis().hset(ownerKey(), { ...owner, host: 'gone' });
  await untilInDoubt(names);
  await world.b.dest.start();
  const doubt = await eventually('the claim is refused', async () => {
    const migration = await outcomeOf(names);
    return migration?.doubt?.cause?.reason === 'owned-elsewhere' ? migration.doubt : undefined;
  });
  expect(doubt.settledBy).toContain(`ferry forget ${guest.name} --host gone`);
  expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_MIGRATED });
  await callsOf(world.b).forget(guest.uuid, 'gone');
  await untilOver(names);
  await world.expectSettled(guest, world.a);
});

describe('a copy in doubt on its source, whose destination is gone', () => {
  const endHere = Resolution.RESOLUTION_END_HERE;
  const onlyCopyOn = (host: string) =>
    world.lab
      .qemus()
      .filter(({ domain }) => domain === guest.uuid)
      .every((qemu) => qemu.host === host);

  async function inDoubt(protocol: Protocol, owner?: string) {
    const { names } = await sent(protocol);
    await world.b.dest.kill('SIGKILL');
    const record = await redis().hgetall(ownerKey());
    await redis().flushall();
    if (owner !== undefined) await redis().hset(ownerKey(), { ...record, host: owner });
    await untilInDoubt(names);
    return names;
  }

  it.each(protocols)('is ended by a person’s word although the record names a third host, %s', async (_v, protocol) => {
    const names = await inDoubt(protocol, 'third');
    await callsOf(world.a).resolve({ ...names, goneHost: 'b', resolution: endHere });
    expect(await untilOver(names)).toMatchObject({ outcome: Outcome.OUTCOME_GUEST_LOST });
    expect(onlyCopyOn('b')).toBe(true);
    expect(await redis().hgetall(ownerKey())).toMatchObject({ host: 'third' });
    await world.b.dest.start();
    await eventually('the destination has looked', async () => (await running()).length === 0);
  });

  it.each(protocols)('is ended by Destroy although the record names a third host, %s', async (_v, protocol) => {
    const names = await inDoubt(protocol, 'third');
    await callsOf(world.a).destroy(guest.uuid);
    expect(await untilOver(names)).toMatchObject({ outcome: Outcome.OUTCOME_GUEST_ENDED });
    expect(onlyCopyOn('b')).toBe(true);
    expect(await redis().hgetall(ownerKey())).toMatchObject({ host: 'third' });
  });

  it.each(protocols)(
    'is ended by Destroy; the destination may have taken it over, so that it owns the guest, %s',
    async (_v, protocol) => {
      const names = await inDoubt(protocol);
      await callsOf(world.a).destroy(guest.uuid);
      expect(await untilOver(names)).toMatchObject({ outcome: Outcome.OUTCOME_GUEST_ENDED, doubt: undefined });
      expect(onlyCopyOn('b')).toBe(true);
      const refused = await refusal(callsOf(hostC()).start(guest.xml));
      expect(refused).toMatchObject({ reason: 'owned-elsewhere' });
      expect(refused.message).toContain('belongs to host b');
      // The destination's agent is back: it learns that nothing continues, and gives the guest up.
      await world.b.dest.start();
      await eventually('nothing is left', () => world.lab.qemus().every(({ domain }) => domain !== guest.uuid));
      await callsOf(hostC()).forget(guest.uuid, 'b');
      await callsOf(hostC()).start(guest.xml);
    },
  );
});
