/**
 * Redis behind sentinels fails over: to a replica that has missed the latest writes, or away from a master that is cut off and goes on
 * answering. Never do two copies of a guest run, and each migration is settled.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { openLog } from '@ferry/agent';
import type { RedisServer, SentinelGroup } from '@ferry/lab';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { openRedis, waitForRedis } from '@ferry/redis/connect';
import { Proxy } from './faults/proxy.ts';
import { startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = Protocol.PROTOCOL_V2;
const v3 = Protocol.PROTOCOL_V3;
/** Longer in its first pass than a fail-over takes. */
const slow = { bandwidthBytesPerSecond: 2_000_000n, downtimeLimitMs: 300 };

let world: World;
let group: SentinelGroup;
/** Between b's agents and the sentinels. */
let links: readonly Proxy[] = [];
let guest: TestGuest;

beforeAll(async () => {
  const sentinels = async (made: SentinelGroup): Promise<void> => {
    group = made;
    links = await Promise.all(made.sentinelPorts.map((port) => Proxy.listen('tcp', { host: '127.0.0.1', port })));
  };
  const env = ({ host }: { host: string }) => ({
    // Lost in each fail-over, and taken back.
    FERRY_LEASE_MS: '1000',
    // Nothing is settled only because nobody came.
    FERRY_IDLE_MS: '600000',
    FERRY_FINISH_MS: '600000',
    FERRY_REDIS_URL: host === 'a' ? group.url : group.urlBy(links.map(({ address }) => address)),
  });
  world = await World.start({ sentinels, env });
  guest = await world.boot(world.a);
});

afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  for (const link of links) await link[Symbol.asyncDispose]();
});

/** Everybody reaches everybody again. */
async function heal(): Promise<void> {
  for (const link of links) link.mode = 'pass';
  await group.heal();
}

/** The next fail-over finds all of it well, and the guest on a. */
afterEach(async () => {
  world.a.source.signal('SIGCONT');
  await heal();
  if ((await world.hostsOf(guest)).includes('b')) {
    const back = await eventually('it can be brought back', async () => {
      const end = endOf(await world.migrate(guest, {}, world.b, world.a));
      return end.failure === undefined ? end : undefined;
    });
    expect(back.outcome).toBe(Outcome.OUTCOME_COMPLETED);
  }
  await world.expectSettled(guest, world.a);
});

type Names = { readonly migrationId: string; readonly domain: string };
const newNames = (): Names => ({ migrationId: randomUUID(), domain: guest.uuid });

/** Begin to Perform, or DumpXml to Perform: afterwards the source has voted. Gives Perform's cookie. */
async function send(
  names: Names,
  protocol: typeof v2 | typeof v3,
  beforePerform: () => Promise<void> = async () => undefined,
): Promise<Buffer> {
  const { migrationId } = names;
  const [a, b] = [callsOf(world.a), callsOf(world.b)];
  const begun =
    protocol === v3
      ? await a.begin({ ...names, options: undefined })
      : { ...(await a.dumpXml(names)), cookieOut: none };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await b.prepare({ migrationId, protocol, ...place });
  await beforePerform();
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  return (await a.perform({ ...names, protocol, ...way })).cookieOut;
}

/** What a caller does who does not know how Finish went. */
function confirmCancelled(names: Names): Promise<Outcome> {
  return eventually('Confirm is answered', async () => {
    const confirmed = await callsOf(world.a)
      .confirm({ ...names, cookieIn: none, cancelled: true })
      .catch(() => undefined);
    return confirmed?.outcome;
  });
}

/** A Finish that comes to nothing. One that finds its job being taken back has not begun, and is called again. */
function finishRefused(names: Names, protocol: typeof v2 | typeof v3, cookieIn: Buffer): Promise<unknown> {
  return eventually('Finish is refused', async () => {
    const failure = await refusal(callsOf(world.b).finish({ ...names, protocol, cookieIn, cancelled: false }));
    return failure.reason === 'lease-lost' ? undefined : failure;
  });
}

async function masterNow(): Promise<RedisServer> {
  return eventually('the sentinels agree on a master', () => group.master());
}

async function killMaster(): Promise<void> {
  const old = await masterNow();
  await old.kill();
  await group.untilFailedOver(old);
}

/** a's agents and the sentinels lose the master, which goes on answering b's agents; they have left it when this returns. */
async function cutOffFromA(): Promise<RedisServer> {
  const old = await masterNow();
  for (const link of links) link.mode = 'cut';
  const from = world.a.source.log.size;
  await group.cutOff(old);
  await group.untilFailedOver(old);
  await eventually('a’s source agent has left the old master', () =>
    world.a.source.log.lines(from).some((line) => line.includes('leaving the old one')),
  );
  return old;
}

describe('a master that dies', () => {
  it('while memory flows: the migration goes on under the next one and completes', async () => {
    const { events } = await startMigration(world, guest, { options: slow });
    await killMaster();
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    await world.expectSettled(guest, world.b);
  });

  it('with the whole migration before its decision unknown to the replica, v3: the guest runs on at the source', async () => {
    await group.stopReplication();
    const names = newNames();
    const cookieIn = await send(names, v3);
    await killMaster();
    await finishRefused(names, v3, cookieIn);
    expect(await confirmCancelled(names)).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('with a commit that the replica does not know, v3: the source does not resume, though nobody told it', async () => {
    const names = newNames();
    const cookieIn = await send(names, v3);
    await group.stopReplication();
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    await killMaster();
    expect(await confirmCancelled(names)).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });

  it('with a vote that the replica does not know, v2: the agents ask each other, the guest runs on at the source', async () => {
    const names = newNames();
    await send(names, v2, () => group.stopReplication());
    await killMaster();
    await finishRefused(names, v2, none);
    await world.expectSettled(guest, world.a);
  });

  it('with a commit that the replica does not know, v2: the source does not resume', async () => {
    const names = newNames();
    await send(names, v2);
    await group.stopReplication();
    // It would learn of the commit while the old master still lives.
    world.a.source.signal('SIGSTOP');
    await callsOf(world.b).finish({ ...names, protocol: v2, cookieIn: none, cancelled: false });
    await killMaster();
    world.a.source.signal('SIGCONT');
    await world.expectSettled(guest, world.b);
  });
});

describe('a master that is cut off and goes on answering the destination', () => {
  it('commits there: the source, which asks the new one, does not resume', async () => {
    const names = newNames();
    const cookieIn = await send(names, v3);
    const old = await cutOffFromA();
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn, cancelled: false });
    expect(await old.client.info('replication')).toContain('role:master');
    expect(await confirmCancelled(names)).toBe(Outcome.OUTCOME_COMPLETED);
    await world.ticksOn(guest);
    await heal();
    await world.expectSettled(guest, world.b);
  });

  it('cannot commit there once the source has taken the guest back', async () => {
    const names = newNames();
    const cookieIn = await send(names, v3);
    await cutOffFromA();
    expect(await confirmCancelled(names)).toBe(Outcome.OUTCOME_FAILED);
    await finishRefused(names, v3, cookieIn);
    await world.ticksOn(guest);

    // While the two hosts have two masters another migration is not switched over; it is when they have one.
    const { events } = await startMigration(world, guest, { options: slow });
    await world.a.source.untilLogged((line) =>
      line['msg'] === 'the switchover waits, memory flows' ? line : undefined,
    );
    await world.ticksOn(guest);
    await heal();
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    await world.expectSettled(guest, world.b);
  });
});

describe('a master that leads again as the same process', () => {
  const runId = async (server: RedisServer) => /run_id:(\w+)/.exec(await server.client.info('server'))?.[1];

  it.each([
    ['v3', v3],
    ['v2', v2],
  ] as const)('with the commit lost meanwhile, %s: the source does not resume', async (_version, protocol) => {
    const names = newNames();
    const cookieIn = await send(names, protocol);
    const first = await masterNow();
    const before = await runId(first);
    await group.stopReplication();
    // It would learn of the commit while the first master still lives.
    world.a.source.signal('SIGSTOP');
    await callsOf(world.b).finish({ ...names, protocol, cookieIn, cancelled: false });
    await group.cutOff(first);
    const second = await group.untilFailedOver(first);
    // The first becomes its replica and takes its data.
    await group.heal();
    await second.kill();
    expect(await group.untilFailedOver(second)).toBe(first);
    expect(await runId(first)).toBe(before);
    world.a.source.signal('SIGCONT');
    if (protocol === v3) expect(await confirmCancelled(names)).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });
});

describe('passwords', () => {
  it('are in no agent’s log, whatever has been away', () => {
    for (const agent of world.lab.agents) {
      const lines = agent.log.lines();
      expect(lines.some((line) => line.includes('Redis is back'))).toBe(true);
      expect(lines.filter((line) => line.includes('-password'))).toEqual([]);
    }
  });

  it('are not said when they are wrong', async () => {
    const { port } = await masterNow();
    const seen: string[] = [];
    const log = openLog('trace', { write: (line) => void seen.push(line) });
    const redis = openRedis({ kind: 'server', url: `redis://user:s3cret@127.0.0.1:${port}` }, log);
    const stop = new AbortController();
    const waiting = waitForRedis(redis, log, stop.signal);
    await eventually('it is refused', () => seen.some((line) => line.includes('WRONGPASS')));
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    redis.disconnect();
    expect(seen.join()).not.toContain('s3cret');
  });
});
