/** The register forgets: Redis dies with all its data at the moments when it alone knows who may run the guest. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
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
async function sent(guest: TestGuest) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: v3, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const performed = await callsOf(world.a).perform({ ...names, protocol: v3, ...way });
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

async function agentsDieAndRedisForgets(dead: readonly ('source' | 'dest')[]): Promise<void> {
  const agents = dead.map((side) => (side === 'source' ? world.a.source : world.b.dest));
  await Promise.all(agents.map((agent) => agent.kill('SIGKILL')));
  await redisForgets();
  await Promise.all(agents.map((agent) => agent.start()));
}
