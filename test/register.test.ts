/** The register forgets: Redis dies with all its data at the moments when it alone knows who may run the guest. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = Protocol.PROTOCOL_V2;
const v3 = Protocol.PROTOCOL_V3;

let world: World;
beforeAll(async () => {
  // A migration that nobody goes on with is settled after so long.
  world = await World.start({ env: { FERRY_IDLE_MS: '2000', FERRY_LEASE_MS: '2000' } });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

/** Everything up to Finish: the guest is paused on both hosts. */
async function sent(guest: TestGuest, protocol: typeof v2 | typeof v3 = v3, between: () => unknown = () => undefined) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const a = callsOf(world.a);
  const begun =
    protocol === v3
      ? await a.begin({ ...names, options: undefined })
      : { ...(await a.dumpXml(names)), cookieOut: none };
  await between();
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol, ...place });
  await between();
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const performed = await a.perform({ ...names, protocol, ...way });
  return { names, cookieIn: performed.cookieOut };
}

async function redisForgets(): Promise<void> {
  await world.lab.redis.kill();
  await world.lab.redis.start();
}

describe('when Redis has forgotten everything', () => {
  it('after Perform: a cancelled Confirm asks the destination, has its promise, and the guest runs on the source', async () => {
    const guest = await world.boot(world.a);
    const { names, cookieIn } = await sent(guest);
    await redisForgets();
    await eventually('the source knows', () =>
      callsOf(world.a)
        .confirm({ ...names, cookieIn: none, cancelled: true })
        .then(
          () => true,
          () => false,
        ),
    );
    // The destination is bound by its promise: the vote that it holds is worth nothing now.
    await refusal(callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false }));
    await world.expectSettled(guest, world.a);
  });

  it('after Perform: Finish commits nothing, and the agents settle it between themselves', async () => {
    const guest = await world.boot(world.a);
    const { names, cookieIn } = await sent(guest);
    await redisForgets();
    await refusal(callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false }));
    await world.expectSettled(guest, world.a);
  });

  it('after Finish: a cancelled Confirm does not resume the source', async () => {
    const guest = await world.boot(world.a);
    const { names, cookieIn } = await sent(guest);
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await redisForgets();
    await eventually('the source knows', () =>
      callsOf(world.a)
        .confirm({ ...names, cookieIn: none, cancelled: true })
        .then(
          () => true,
          () => false,
        ),
    );
    await world.expectSettled(guest, world.b);
  });

  it('and is away while Finish is called: the guest waits, and runs on one host when Redis is back', async () => {
    const guest = await world.boot(world.a);
    const { names, cookieIn } = await sent(guest);
    await world.lab.redis.kill();
    const refused = await refusal(callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false }));
    expect(refused).toMatchObject({ reason: 'register-unavailable', retryable: true });
    await world.lab.redis.start();
    await world.expectSettled(guest, world.a);
  });

  it.each([
    ['the source agent', ['source']],
    ['the destination agent', ['dest']],
    ['both agents', ['source', 'dest']],
  ] as const)('and %s died as well, after Perform: the guest runs on the source', async (_what, dead) => {
    const guest = await world.boot(world.a);
    await sent(guest);
    await agentsDieAndRedisForgets(dead);
    await world.expectSettled(guest, world.a);
  });

  it.each([
    ['the source agent', ['source']],
    ['the destination agent', ['dest']],
    ['both agents', ['source', 'dest']],
  ] as const)('and %s died as well, after Finish: the guest runs on the destination', async (_what, dead) => {
    const guest = await world.boot(world.a);
    const { names, cookieIn } = await sent(guest);
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await agentsDieAndRedisForgets(dead);
    await world.expectSettled(guest, world.b);
  });
});

describe('when Redis is another incarnation in the same process, its data kept', () => {
  /** What also happens when a first replica connects: master_replid changes, and nothing is lost. */
  const renameHistory = () => world.lab.redis.client.multi().replicaof('127.0.0.1', '1').replicaof('NO', 'ONE').exec();

  it('while memory flows: the migration goes on under it and completes', async () => {
    const guest = await world.boot(world.a);
    const options = { bandwidthBytesPerSecond: 2_000_000n, downtimeLimitMs: 300 };
    const { events } = await startMigration(world, guest, { options });
    await renameHistory();
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    await world.expectSettled(guest, world.b);
  });

  it('between Begin and Prepare, and between Prepare and Perform, in either version: likewise', async () => {
    for (const protocol of [v3, v2]) {
      const guest = await world.boot(world.a);
      const { names, cookieIn } = await sent(guest, protocol, renameHistory);
      await callsOf(world.b).finish({ ...names, protocol, cookieIn, cancelled: false });
      if (protocol === v3) await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
      await world.expectSettled(guest, world.b);
    }
  });

  it('after Perform: nobody commits, and the guest goes on at the source', async () => {
    for (const protocol of [v3, v2]) {
      const guest = await world.boot(world.a);
      const { names, cookieIn } = await sent(guest, protocol);
      await renameHistory();
      await refusal(callsOf(world.b).finish({ ...names, protocol, cookieIn, cancelled: false }));
      await world.expectSettled(guest, world.a);
    }
  });

  it('after Finish: a source that has to ask does not resume', async () => {
    const guest = await world.boot(world.a);
    const { names, cookieIn } = await sent(guest);
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await renameHistory();
    const confirmed = await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });
});

async function agentsDieAndRedisForgets(dead: readonly ('source' | 'dest')[]): Promise<void> {
  const agents = dead.map((side) => (side === 'source' ? world.a.source : world.b.dest));
  await Promise.all(agents.map((agent) => agent.kill('SIGKILL')));
  await redisForgets();
  await Promise.all(agents.map((agent) => agent.start()));
}
