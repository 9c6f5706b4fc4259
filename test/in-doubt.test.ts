/** In doubt: the register has forgotten, the other host is gone, and only a person can say so. Real agents, QEMUs and Redis. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol, Resolution, Side } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

const v3 = Protocol.PROTOCOL_V3;
const runHere = Resolution.RESOLUTION_RUN_HERE;
const endHere = Resolution.RESOLUTION_END_HERE;

let world: World;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_IDLE_MS: '1000', FERRY_LEASE_MS: '2000' } });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});
let guest: TestGuest;
beforeEach(async () => {
  guest = await world.boot(world.a);
});
afterEach(async () => {
  for (const host of [world.a, world.b])
    await callsOf(host)
      .destroy(guest.uuid)
      .catch(() => undefined);
});

/** Everything up to Finish: the guest is paused on both hosts. */
async function sent() {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: v3, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const { cookieOut } = await callsOf(world.a).perform({ ...names, protocol: v3, ...way });
  return { names, finish: { ...names, protocol: v3, cookieIn: cookieOut, cancelled: false } };
}

async function redisForgets(): Promise<void> {
  await world.lab.redis.kill();
  await world.lab.redis.start();
}

function endQemuOn(host: string): void {
  for (const { domain, pid, host: at } of world.lab.qemus())
    if (domain === guest.uuid && at === host) process.kill(pid, 'SIGKILL');
}

const told = (get: () => ReturnType<ReturnType<typeof callsOf>['get']>) =>
  eventually('the migration is in doubt', async () => {
    const { migration } = await get();
    return migration?.outcome === Outcome.OUTCOME_IN_DOUBT ? migration : undefined;
  });

const goneB = (names: { migrationId: string; domain: string }, resolution: typeof runHere | typeof endHere) =>
  callsOf(world.a).resolve({ ...names, goneHost: 'b', resolution });
const goneA = (names: { migrationId: string; domain: string }, resolution: typeof runHere | typeof endHere) =>
  callsOf(world.b).resolveIncoming({ ...names, goneHost: 'a', resolution });

const disproved = { reason: 'resolution-disproved', code: status.FAILED_PRECONDITION, retryable: false };

describe('a guest that was sent, while the register forgets and the destination is gone', () => {
  async function sourceInDoubt() {
    const { names } = await sent();
    await world.b.dest.kill('SIGKILL');
    await redisForgets();
    return { names, migration: await told(() => callsOf(world.a).get(names)) };
  }
  afterEach(async () => {
    await world.b.dest.start().catch(() => undefined);
  });

  it('is shown as in doubt, with the cause and what would settle it, and neither copy runs', async () => {
    const { names, migration } = await sourceInDoubt();
    expect(migration).toMatchObject({ active: true, doubt: { cause: { reason: 'destination-unreachable' } } });
    expect(migration.doubt?.settledBy).toContain(world.b.destAddress);
    expect(migration.doubt?.settledBy).toContain(`ferry resolve ${names.migrationId}`);
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_MIGRATED });
    await world.b.dest.start();
    await world.expectSettled(guest, world.a);
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({ active: false, doubt: undefined });
  });

  it('goes on at the source by a person’s word, and the destination follows when it is back', async () => {
    const { names } = await sourceInDoubt();
    endQemuOn('b');
    const { migration } = await goneB(names, runHere);
    expect(migration).toMatchObject({ active: false, outcome: Outcome.OUTCOME_FAILED });
    const [owner] = await callsOf(world.a).where(guest.uuid);
    expect(owner).toMatchObject({ host: 'a' });
    await world.ticksOn(guest);
    await world.b.dest.start();
    await world.expectSettled(guest, world.a);
  });

  it('is ended at the source by a person’s word: the guest is lost, and may be started anew', async () => {
    const { names } = await sourceInDoubt();
    endQemuOn('b');
    const { migration } = await goneB(names, endHere);
    expect(migration).toMatchObject({ active: false, outcome: Outcome.OUTCOME_GUEST_LOST });
    expect(world.lab.qemus().filter(({ domain }) => domain === guest.uuid)).toEqual([]);
    await world.b.dest.start();
    await eventually('it can be started anew', () =>
      callsOf(world.b)
        .start(guest.xml)
        .then(
          () => true,
          () => false,
        ),
    );
  });

  it('stays in doubt where the destination is back without its QEMU: it cannot tell whether the guest went on there', async () => {
    const { names } = await sent();
    await world.b.dest.kill('SIGKILL');
    endQemuOn('b');
    await redisForgets();
    await world.b.dest.start();
    const { doubt } = await told(() => callsOf(world.a).get(names));
    expect(doubt?.cause?.reason).toMatch(/^(other-undecided|destination-unreachable)$/);
    expect((await goneB(names, runHere)).migration).toMatchObject({ active: false, outcome: Outcome.OUTCOME_FAILED });
    await world.expectSettled(guest, world.a);
  });

  it('is not resolved for a host that is not the other one, nor twice', async () => {
    const { names } = await sourceInDoubt();
    for (const goneHost of ['', 'a', 'c']) {
      const refused = await refusal(callsOf(world.a).resolve({ ...names, goneHost, resolution: runHere }));
      expect(refused).toMatchObject({ reason: 'invalid-request', code: status.INVALID_ARGUMENT });
    }
    const nothing = Resolution.RESOLUTION_UNSPECIFIED;
    expect(await refusal(callsOf(world.a).resolve({ ...names, goneHost: 'b', resolution: nothing }))).toMatchObject({
      reason: 'invalid-request',
    });
    endQemuOn('b');
    await goneB(names, runHere);
    expect(await refusal(goneB(names, endHere))).toMatchObject({ reason: 'not-in-doubt' });
    await world.b.dest.start();
    await world.expectSettled(guest, world.a);
  });

  it('is not resolved against the ownership record: the guest runs there', async () => {
    const { names, finish } = await sent();
    await callsOf(world.b).finish(finish);
    await world.b.dest.kill('SIGKILL');
    await world.lab.redis.client.del(`ferry:{${guest.uuid}}:handover:${names.migrationId}`);
    await told(() => callsOf(world.a).get(names));
    const refused = await refusal(goneB(names, runHere));
    expect(refused).toMatchObject(disproved);
    expect(refused.message).toContain('host b’s since');
    expect((await goneB(names, endHere)).migration).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
    await world.b.dest.start();
    await world.expectSettled(guest, world.b);
  });

  it('is not resolved while Redis does not answer', async () => {
    const { names } = await sourceInDoubt();
    await world.lab.redis.kill();
    expect(await refusal(goneB(names, runHere))).toMatchObject({ reason: 'register-unavailable' });
    await world.lab.redis.start();
    await world.b.dest.start();
    await world.expectSettled(guest, world.a);
  });
});

describe('a migration that is not in doubt', () => {
  it('is not resolved: it goes on, or it is over', async () => {
    const { names, finish } = await sent();
    expect(await refusal(goneB(names, runHere))).toMatchObject({ reason: 'not-in-doubt' });
    await callsOf(world.b).finish(finish);
    await eventually('it is over', async () => (await callsOf(world.a).get(names)).migration?.active === false);
    expect(await refusal(goneB(names, runHere))).toMatchObject({ reason: 'not-in-doubt' });
    await world.expectSettled(guest, world.b);
  });
});

describe('a guest that came whole, while the register forgets and the source is gone', () => {
  afterEach(async () => {
    await world.a.source.start().catch(() => undefined);
  });

  async function destInDoubt() {
    const { names, finish } = await sent();
    await redisForgets();
    await world.a.source.kill('SIGKILL');
    await refusal(callsOf(world.b).finish(finish));
    return { names, migration: await told(() => callsOf(world.b).getIncoming(names)) };
  }

  it.each([
    ['as it is', false],
    ['after a restart of its agent', true],
  ])('goes on at the destination by a person’s word, %s', async (_how, restarted) => {
    const { names, migration } = await destInDoubt();
    expect(migration).toMatchObject({ side: Side.SIDE_DEST, doubt: { cause: { reason: 'destination-unreachable' } } });
    if (restarted) {
      await world.b.dest.kill('SIGKILL');
      await world.b.dest.start();
      await told(() => callsOf(world.b).getIncoming(names));
    }
    endQemuOn('a');
    // Redis, which was started again, may not be connected to yet.
    const { migration: resolved } = await eventually('the agent has Redis again', () => goneA(names, runHere));
    expect(resolved).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
    expect((await callsOf(world.b).where(guest.uuid))[0]).toMatchObject({ host: 'b' });
    await world.ticksOn(guest);
    await world.a.source.start();
    await world.expectSettled(guest, world.b);
  });

  it('does not go on where the source has not been heard to stop: it can only be ended', async () => {
    const { names } = await sent();
    await world.a.source.kill('SIGKILL');
    await world.b.dest.kill('SIGKILL');
    await redisForgets();
    await world.b.dest.start();
    await told(() => callsOf(world.b).getIncoming(names));
    const refused = await refusal(goneA(names, runHere));
    expect(refused).toMatchObject(disproved);
    expect(refused.message).toContain('may be older than its disks');
    expect((await goneA(names, endHere)).migration).toMatchObject({ outcome: Outcome.OUTCOME_GUEST_LOST });
    await world.a.source.start();
    await world.expectSettled(guest, world.a);
  });

  it('is not resolved while the source’s agent answers', async () => {
    const { names } = await destInDoubt();
    await world.a.source.start();
    const refused = await eventually('it is refused', () => refusal(goneA(names, runHere)).catch(() => undefined));
    expect(['resolution-disproved', 'not-in-doubt']).toContain(refused.reason);
    await world.expectSettled(guest, world.a);
  });
});
