/** Redis answers, but with an error, while it alone knows who may run the guest; or it knows of an earlier migration with the same id. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

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

/** Begin to Prepare. */
async function prepared(names: Names, protocol: Version, from: LabHost, to: LabHost) {
  const { migrationId } = names;
  const a = callsOf(from);
  const begun =
    protocol === v3
      ? await a.begin({ ...names, options: undefined })
      : { ...(await a.dumpXml(names)), cookieOut: none };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  return callsOf(to).prepare({ migrationId, protocol, ...place });
}

/** Everything up to Finish: the guest is paused on both hosts. */
async function sent(guest: TestGuest, protocol: Version) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const { cookieOut, migrationUri } = await prepared(names, protocol, world.a, world.b);
  const way = { cookieIn: cookieOut, migrationUri, options: undefined };
  const performed = await callsOf(world.a).perform({ ...names, protocol, ...way });
  return { names, last: { ...names, protocol, cookieIn: performed.cookieOut, cancelled: false } };
}

const recordOf = ({ domain, migrationId }: Names) => `ferry:{${domain}}:handover:${migrationId}`;

/** Each script that reads the record fails with WRONGTYPE. */
async function plant(names: Names): Promise<void> {
  await world.lab.redis.client.multi().del(recordOf(names)).set(recordOf(names), 'not a hash').exec();
}

describe.each([
  ['version 3', v3],
  ['version 2', v2],
] as const)('a record of another type, %s', (_version, protocol) => {
  it('before the decision: the agents ask each other, and the guest goes on at the source', async () => {
    const guest = await world.boot(world.a);
    const { names, last } = await sent(guest, protocol);
    await plant(names);
    expect(await refusal(callsOf(world.b).finish(last))).toMatchObject({ reason: 'register-reply' });
    await world.expectSettled(guest, world.a);
  });

  it('after the decision: a source that has to ask does not resume', async () => {
    const guest = await world.boot(world.a);
    // It would learn of the decision from the register, v2.
    const { names, last } = await sent(guest, protocol);
    world.a.source.signal('SIGSTOP');
    await callsOf(world.b).finish(last);
    await plant(names);
    world.a.source.signal('SIGCONT');
    if (protocol === v3) {
      const confirmed = await eventually('Confirm is answered', () =>
        callsOf(world.a)
          .confirm({ ...names, cookieIn: none, cancelled: true })
          .catch(() => undefined),
      );
      expect(confirmed.outcome).toBe(Outcome.OUTCOME_COMPLETED);
    }
    await world.expectSettled(guest, world.b);
  });
});

describe('agents that may not run scripts any more', () => {
  it('ask each other, and the guest goes on before Redis lets them', async () => {
    const guest = await world.boot(world.a);
    const { last } = await sent(guest, v3);
    const { client } = world.lab.redis;
    await client.call('ACL', 'SETUSER', 'default', '-@scripting');
    try {
      await refusal(callsOf(world.b).finish(last));
      await world.ticksOn(guest);
    } finally {
      await client.call('ACL', 'SETUSER', 'default', '+@scripting');
    }
    await world.expectSettled(guest, world.a);
  });
});

describe('a migration id that is used again', () => {
  /** As if the migration's records had aged, but not the register's. */
  async function age({ migrationId, domain }: Names): Promise<void> {
    const hosts = [world.a, world.b];
    const agents = hosts.flatMap((host) => [host.source, host.dest]);
    await Promise.all(agents.map((agent) => agent.kill('SIGKILL')));
    await world.lab.redis.client.del(...hosts.map(({ name }) => `ferry:{${domain}}:migration:${migrationId}:${name}`));
    for (const { stateDir } of hosts)
      for (const side of ['source', 'dest'])
        await rm(join(stateDir, 'handover', side, `${migrationId}.json`), { force: true });
    await Promise.all(agents.map((agent) => agent.start()));
  }

  it.each([
    ['version 3', v3],
    ['version 2', v2],
  ] as const)('when only the register still knows the earlier one is refused, %s', async (_version, protocol) => {
    const guest = await world.boot(world.a);
    const { names, last } = await sent(guest, protocol);
    const { cookieOut } = await callsOf(world.b).finish(last);
    if (protocol === v3) await callsOf(world.a).confirm({ ...names, cookieIn: cookieOut, cancelled: false });
    await world.expectSettled(guest, world.b);
    expect(await world.lab.redis.client.hget(recordOf(names), 'decision')).toBe('committed');

    await age(names);
    expect(await refusal(prepared(names, protocol, world.b, world.a))).toMatchObject({
      reason: 'migration-id-used',
      message: expect.stringContaining('choose a fresh migration id'),
    });
    await world.expectSettled(guest, world.b);
  });

  it.each([
    ['version 3', v3],
    ['version 2', v2],
  ] as const)('is refused where the earlier record is undecided: it is not joined, %s', async (_version, protocol) => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.uuid };
    await prepared(names, protocol, world.a, world.b);
    const { client } = world.lab.redis;
    const undecided = await client.hgetall(recordOf(names));
    await callsOf(world.b).finish({ ...names, protocol, cookieIn: none, cancelled: true });
    if (protocol === v3) await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);

    await age(names);
    await client.multi().del(recordOf(names)).hset(recordOf(names), undecided).exec();
    expect(await refusal(prepared(names, protocol, world.a, world.b))).toMatchObject({
      reason: 'migration-id-used',
      message: expect.stringContaining('was begun before'),
    });
    expect(await client.hgetall(recordOf(names))).toEqual(undecided);
    await world.expectSettled(guest, world.a);
  });

  it('and with it a cookie of the earlier run is refused: its vote is not this one’s', async () => {
    const guest = await world.boot(world.a);
    const { names, last } = await sent(guest, v3);
    await callsOf(world.b).finish({ ...last, cancelled: true });
    await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);

    await age(names);
    await world.lab.redis.client.del(recordOf(names));
    const { cookieOut, migrationUri } = await prepared(names, v3, world.a, world.b);
    await callsOf(world.a).perform({ ...names, protocol: v3, cookieIn: cookieOut, migrationUri, options: undefined });
    expect(await refusal(callsOf(world.b).finish(last))).toMatchObject({
      reason: 'cookie-foreign',
      message: expect.stringContaining('of run'),
    });
    await world.expectSettled(guest, world.a);
  });
});

it('a first replica that connects while Prepare launches QEMU: the migration begins under the incarnation that Redis has then', async () => {
  const guest = await world.boot(world.a);
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const { client } = world.lab.redis;
  const preparing = prepared(names, v3, world.a, world.b);
  preparing.catch(() => undefined);
  // Its incarnation has been asked for by then.
  await eventually(
    'the destination holds its job',
    async () => (await client.exists(`ferry:{${guest.uuid}}:job:b`)) === 1,
  );
  await client.multi().replicaof('127.0.0.1', '1').replicaof('NO', 'ONE').exec();
  const { cookieOut, migrationUri } = await preparing;
  const way = { cookieIn: cookieOut, migrationUri, options: undefined };
  const performed = await callsOf(world.a).perform({ ...names, protocol: v3, ...way });
  const finished = await callsOf(world.b).finish({
    ...names,
    protocol: v3,
    cookieIn: performed.cookieOut,
    cancelled: false,
  });
  await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
  await world.expectSettled(guest, world.b);
});
