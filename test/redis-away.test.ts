/** Redis is missing, hangs, dies, or comes back without its memory. A guest runs on; whoever asks is told; everything is settled afterwards. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { startMigration } from './under-way.ts';
import type { Failure, MigrationEvent } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v3 = Protocol.PROTOCOL_V3;
const cancelled = { protocol: v3, cookieIn: none, cancelled: true };
/** Longer in its first pass than something takes to happen. */
const slow = { bandwidthBytesPerSecond: 1_500_000n, downtimeLimitMs: 300 };
/** So slow that something can happen, and yet it ends. */
const unhurried = { bandwidthBytesPerSecond: 4_000_000n, downtimeLimitMs: 300 };

/** A lab whose leases run out soon. */
const startWorld = (options: { durable: boolean }) =>
  World.start({ env: { FERRY_LEASE_MS: '3000', FERRY_HOLD_MS: '8000' }, redis: options, agents: 'not-started' });

async function startAgents(world: World): Promise<void> {
  await Promise.all(world.lab.agents.map((agent) => agent.start()));
}

const isHold = ({ event }: MigrationEvent): boolean => event?.$case === 'hold';
const holdOf = ({ event }: MigrationEvent): Failure | undefined =>
  event?.$case === 'hold' ? event.value.cause : undefined;

async function collect(from: AsyncIterable<MigrationEvent>, into: MigrationEvent[]): Promise<void> {
  for await (const event of from) into.push(event);
}

const newNames = (guest: TestGuest) => ({ migrationId: randomUUID(), domain: guest.uuid });

/** Begin to Perform. */
async function send(world: World, names: { migrationId: string; domain: string }) {
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: v3, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  return callsOf(world.a).perform({ ...names, protocol: v3, ...way });
}

/** What a caller does whose Finish failed. */
async function confirmCancelled(world: World, names: { migrationId: string; domain: string }): Promise<Outcome> {
  return eventually('Confirm is answered', async () => {
    const confirmed = await callsOf(world.a)
      .confirm({ ...names, ...cancelled })
      .catch(() => undefined);
    return confirmed?.outcome;
  });
}

/** One host has the guest, whichever: says which, and brings it back to a. */
async function settledSomewhere(world: World, guest: TestGuest): Promise<string> {
  const host = await eventually('one host has it', async () => {
    const hosts = await world.hostsOf(guest);
    return hosts.length === 1 && (await world.leases(guest)).length === 0 ? hosts[0] : undefined;
  });
  await world.expectSettled(guest, world.lab.host(host));
  if (host === 'b') expect(endOf(await world.migrate(guest, {}, world.b, world.a)).failure).toBeUndefined();
  await world.expectSettled(guest, world.a);
  return host;
}

describe('a Redis that forgets', () => {
  let world: World;
  let guest: TestGuest;
  beforeAll(async () => {
    world = await startWorld({ durable: false });
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
  });

  it('is waited for by agents that start, and they say so', async () => {
    const { redis, agents } = world.lab;
    await redis.kill();
    for (const agent of agents) await agent.launch();
    for (const agent of agents) {
      const waiting = await agent.untilLogged((line) => (line['msg'] === 'waiting for Redis' ? line : undefined));
      expect(waiting).toMatchObject({ redis: redis.socket });
      expect(agent.logs().some((line) => line['msg'] === 'serving')).toBe(false);
    }
    // One that is asked to end meanwhile does.
    await world.a.source.kill('SIGTERM');
    expect(world.a.source.log.lines().filter((line) => /Error/.test(line) && !/Redis is away/.test(line))).toEqual([]);
    await world.a.source.launch();

    await redis.start();
    for (const agent of agents) await agent.untilServing();
    guest = await world.boot(world.a);
    await world.expectSettled(guest, world.a);
  });

  it('is gone before a migration begins: it does not begin, and domains are still listed', async () => {
    await world.lab.redis.kill();
    const failure = await refusal(callsOf(world.a).begin({ ...newNames(guest), options: undefined }));
    expect(failure).toMatchObject({
      reason: expect.stringMatching(/^(redis|register)-unavailable$/),
      code: status.UNAVAILABLE,
      side: Side.SIDE_SOURCE,
      retryable: true,
    });
    const { outcome, failure: why } = endOf(await world.migrate(guest));
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    expect(why).toMatchObject({ reason: expect.stringMatching(/^(redis|register)-unavailable$/), retryable: true });
    expect(await refusal(callsOf(world.a).suspend(guest.name))).toMatchObject({ reason: 'redis-unavailable' });
    expect(await world.domainOn(world.a, guest)).toMatchObject({ name: guest.name });
    await world.ticksOn(guest);
    await world.lab.redis.start();
    await world.expectSettled(guest, world.a);
  });

  it('hangs while a migration begins: that is told within the time a reply may take', async () => {
    world.lab.redis.signal('SIGSTOP');
    const failure = await refusal(callsOf(world.a).begin({ ...newNames(guest), options: undefined }));
    world.lab.redis.signal('SIGCONT');
    expect(failure).toMatchObject({ code: status.UNAVAILABLE, retryable: true });
    await world.expectSettled(guest, world.a);
  });

  it('dies at some moment of Begin: whatever the answer is, nothing stays', async () => {
    for (let times = 0; times < 3; times += 1) {
      const names = newNames(guest);
      const begun = callsOf(world.a)
        .begin({ ...names, options: undefined })
        .catch(() => undefined);
      await world.lab.redis.kill();
      await begun;
      await world.lab.redis.start();
      await callsOf(world.a)
        .confirm({ ...names, ...cancelled })
        .catch(() => undefined);
      await world.expectSettled(guest, world.a);
    }
  });

  it('dies while memory flows and stays away: the guest is not stopped, and in the end the migration is given up', async () => {
    const events: MigrationEvent[] = [];
    const from = world.a.source.log.size;
    const migration = collect(world.watchMigrate(guest, { options: slow }), events);
    await eventually('memory flows', async () => events.some(({ event }) => event?.$case === 'progress'));
    await world.lab.redis.kill();
    const hold = await eventually('it is told what is missing', async () => events.find(isHold));
    expect(holdOf(hold)?.reason).toMatch(/^(redis|register)-unavailable$/);
    await migration;
    const { outcome, failure } = endOf(events);
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    expect(failure).toMatchObject({ reason: 'not-ready', retryable: true, message: expect.stringContaining('Redis') });
    expect(events.some(({ event }) => event?.$case === 'switchover')).toBe(false);
    expect(world.a.source.log.lines(from).some((line) => line.includes('the switchover waits'))).toBe(true);
    await world.ticksOn(guest);
    await world.lab.redis.start();
    await world.expectSettled(guest, world.a);
  });

  it('forgets everything while memory flows, after longer than a lease: the migration goes on and succeeds', async () => {
    const events: MigrationEvent[] = [];
    const migration = collect(world.watchMigrate(guest, { options: slow }), events);
    await eventually('memory flows', async () => events.some(({ event }) => event?.$case === 'progress'));
    await world.lab.redis.kill();
    await world.a.source.untilLogged((line) => (line['msg'] === 'the lease is lost' ? line : undefined));
    await world.lab.redis.start();
    await migration;
    expect(endOf(events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    expect(events.filter(isHold).length).toBeGreaterThanOrEqual(2);
    expect(await settledSomewhere(world, guest)).toBe('b');
  });

  it('dies between Perform and Finish and forgets: the agents ask each other, and the guest runs on at the source', async () => {
    const names = newNames(guest);
    const { cookieOut: cookieIn } = await send(world, names);
    await world.lab.redis.kill();
    const finish = callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    expect(await refusal(finish)).toMatchObject({ code: status.UNAVAILABLE, side: Side.SIDE_DEST, retryable: true });
    await world.lab.redis.start();
    expect(await confirmCancelled(world, names)).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('dies between Finish and Confirm and forgets: the guest runs on at the destination', async () => {
    const names = newNames(guest);
    const { cookieOut: cookieIn } = await send(world, names);
    const finished = await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await world.lab.redis.kill();
    await callsOf(world.a)
      .confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false })
      .catch(() => undefined);
    await world.ticksOn(guest);
    await world.lab.redis.start();
    await world.expectSettled(guest, world.b);
  });
});

describe('a Redis that remembers', () => {
  let world: World;
  let guest: TestGuest;
  beforeAll(async () => {
    world = await startWorld({ durable: true });
    await startAgents(world);
    guest = await world.boot(world.a);
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
  });

  it('hangs for a moment while memory flows: nobody minds', async () => {
    const { events } = await startMigration(world, guest, { options: unhurried });
    world.lab.redis.signal('SIGSTOP');
    await world.ticksOn(guest, 100);
    world.lab.redis.signal('SIGCONT');
    const { outcome, failure } = endOf(await events);
    expect(failure).toBeUndefined();
    expect(outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    await world.migrate(guest, {}, world.b, world.a);
  });

  it('is restarted while memory flows: the guest runs on one host', async () => {
    const { events } = await startMigration(world, guest, { options: unhurried });
    await world.lab.redis.stop();
    await world.lab.redis.start();
    const { outcome } = endOf(await events);
    expect(await settledSomewhere(world, guest)).toBe(outcome === Outcome.OUTCOME_COMPLETED ? 'b' : 'a');
  });

  it('dies between Perform and Finish: Finish can be asked again when it is back', async () => {
    const names = newNames(guest);
    const { cookieOut: cookieIn } = await send(world, names);
    await world.lab.redis.kill();
    const finish = { ...names, protocol: v3, cookieIn, cancelled: false };
    expect(await refusal(callsOf(world.b).finish(finish))).toMatchObject({ code: status.UNAVAILABLE });
    await world.lab.redis.start();
    const outcome = await confirmCancelled(world, names);
    await world.expectSettled(guest, outcome === Outcome.OUTCOME_COMPLETED ? world.b : world.a);
  });
});
