/** Agents that are killed, or restarted by somebody, with and without a migration under way. The guest runs on one host all the time. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { endless, startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v3 = Protocol.PROTOCOL_V3;
const cancelled = { protocol: v3, cookieIn: none, cancelled: true };

let world: World;
let guest: TestGuest;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_HOLD_MS: '4000' } });
  guest = await world.boot(world.a, { name: 'untouched' });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  // The next test begins where this one did.
  if ((await world.hostsOf(guest)).includes('b')) await world.migrate(guest, {}, world.b, world.a);
  await world.expectSettled(guest, world.a);
});

const newNames = () => ({ migrationId: randomUUID(), domain: guest.uuid });
type Names = ReturnType<typeof newNames>;

/** Begin to Perform. */
async function send(names: Names) {
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: v3, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  return callsOf(world.a).perform({ ...names, protocol: v3, ...way });
}

const begin = (names: Names) => callsOf(world.a).begin({ ...names, options: undefined });
const confirm = (names: Names) => callsOf(world.a).confirm({ ...names, ...cancelled });

describe('without a migration', () => {
  it('agents are restarted, and guests notice nothing', async () => {
    const paused = await world.boot(world.a, { paused: true });
    const before = await callsOf(world.a).list();
    const qemus = world.lab.qemus();
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      await Promise.all(world.lab.agents.map((agent) => agent.restart({ signal })));
      expect(await callsOf(world.a).list()).toEqual(before);
      expect(world.lab.qemus()).toEqual(qemus);
      await world.expectSettled(guest, world.a);
    }
    expect(await world.domainOn(world.a, paused)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.a).destroy(paused.name);
    expect(endOf(await world.migrate(guest)).failure).toBeUndefined();
    await world.expectSettled(guest, world.b);
  });

  it('agents that are asked to end do so at once, with status 0', async () => {
    for (const agent of [world.a.source, world.a.dest]) {
      const from = agent.log.size;
      await agent.restart();
      expect(agent.log.lines(from).filter((line) => /Error|"level":[56]0/.test(line))).toEqual([]);
    }
  });
});

describe.each(['SIGKILL', 'SIGTERM'] as const)('%s and a restart while memory flows', (signal) => {
  it('of the destination agent: the migration fails, the guest runs on', async () => {
    const { events } = await startMigration(world, guest);
    await world.b.dest.restart({ signal });
    const { outcome, failure } = endOf(await events);
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    expect(failure?.reason).toMatch(/^(migration-failed|destination-unreachable|draining|incoming-failed|not-ready)$/);
    await world.expectSettled(guest, world.a);
  });

  it('of the source agent: it finds its guest again and takes it back', async () => {
    const names = await startMigration(world, guest);
    await world.a.source.restart({ signal });
    await world.expectSettled(guest, world.a);
    const { migration } = await callsOf(world.a).get({ ...names, domain: guest.uuid });
    expect(migration).toMatchObject({ active: false, outcome: Outcome.OUTCOME_FAILED });
    expect(migration?.failure?.reason).toMatch(/^(abandoned|draining)$/);
    // Asked for again, it tells how it ended and does nothing; another request is not answered with that.
    const again = { migrationId: names.migrationId, options: endless };
    expect(endOf(await world.migrate(guest, again)).outcome).toBe(Outcome.OUTCOME_FAILED);
    const other = await refusal(world.migrate(guest, { migrationId: names.migrationId }));
    expect(other.reason).toBe('request-differs');
  });

  it('of both: the guest runs on', async () => {
    await startMigration(world, guest);
    await Promise.all([world.a.source.restart({ signal }), world.b.dest.restart({ signal })]);
    await world.expectSettled(guest, world.a);
  });
});

describe('an agent that crashes', () => {
  it('at the destination and stays away: the migration fails when it is needed, and it clears up when it is back', async () => {
    const { events } = await startMigration(world, guest, {
      options: { bandwidthBytesPerSecond: 2_000_000n, downtimeLimitMs: 300 },
    });
    await world.b.dest.kill();
    try {
      expect(endOf(await events)).toMatchObject({
        outcome: Outcome.OUTCOME_FAILED,
        failure: { reason: 'not-ready', retryable: true },
      });
      await world.ticksOn(guest);
    } finally {
      await world.b.dest.start();
    }
    await world.expectSettled(guest, world.a);
  });

  it('at the source after Begin: the job ends, and nothing has happened', async () => {
    const names = newNames();
    await begin(names);
    await world.a.source.restart({ signal: 'SIGKILL' });
    await world.expectSettled(guest, world.a);
    expect(await refusal(begin(names))).toMatchObject({ reason: 'abandoned' });
    await begin(newNames()).then(() => world.a.source.restart({ signal: 'SIGKILL' }));
  });

  it('at the destination after Prepare: the place is cleared, and Perform finds nobody', async () => {
    const names = newNames();
    const begun = await begin(names);
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
    const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: v3, ...place });
    await world.b.dest.restart({ signal: 'SIGKILL' });
    const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
    const failure = await refusal(callsOf(world.a).perform({ ...names, protocol: v3, ...way }));
    expect(failure).toMatchObject({ reason: 'migration-failed', retryable: true });
    await world.expectSettled(guest, world.a);
  });

  it('at the source after Perform: the guest is taken back, and Finish is refused', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    await world.a.source.restart({ signal: 'SIGKILL' });
    await world.ticksOn(guest);
    const finish = callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    expect(await refusal(finish)).toMatchObject({ reason: 'not-migrating' });
    expect((await confirm(names)).outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('at the destination after Perform: the guest is taken back when Confirm says so', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    await world.b.dest.restart({ signal: 'SIGKILL' });
    const finish = callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    expect(await refusal(finish)).toMatchObject({ reason: expect.stringMatching(/./) });
    expect((await confirm(names)).outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('at the source after Finish: it ends its copy when it is back', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    const finished = await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await world.a.source.restart({ signal: 'SIGKILL' });
    await world.expectSettled(guest, world.b);
    const confirmed = await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_COMPLETED);
  });

  it('at the destination after Finish: the guest runs there, and Finish can be asked again', async () => {
    const names = newNames();
    const { cookieOut: cookieIn } = await send(names);
    const finish = { ...names, protocol: v3, cookieIn, cancelled: false };
    const finished = await callsOf(world.b).finish(finish);
    await world.b.dest.restart({ signal: 'SIGKILL' });
    await world.ticksOn(guest);
    expect((await callsOf(world.b).finish(finish)).domain?.uuid).toBe(guest.uuid);
    const confirmed = await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });

  it.each([
    ['source', () => world.a.source],
    ['destination', () => world.b.dest],
  ] as const)('at the %s at some moment of a migration: it ends one way or the other', async (_side, agent) => {
    // Three times, at moments that nobody chose.
    for (let times = 0; times < 3; times += 1) {
      const events = world.migrate(guest);
      events.catch(() => undefined);
      const begun = eventually('it has begun', async () => (await world.leases(guest)).length > 0);
      await Promise.race([begun, events]).catch(() => undefined);
      await agent().restart({ signal: 'SIGKILL' });
      await events.catch(() => undefined);
      const host = await eventually('one host has it', async () => {
        const hosts = await world.hostsOf(guest);
        return hosts.length === 1 && (await world.leases(guest)).length === 0 ? hosts[0] : undefined;
      });
      await world.expectSettled(guest, world.lab.host(host));
      if (host === 'b') await world.migrate(guest, {}, world.b, world.a);
    }
  });
});
