/** A guest that was sent, and a caller that vanishes: the source asks the register itself, soon, whatever the idle limit is. Real agents and QEMUs. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

const { PROTOCOL_V2: v2, PROTOCOL_V3: v3 } = Protocol;

let world: World;
beforeAll(async () => {
  // Nothing is settled by the idle limit.
  world = await World.start({ env: { FERRY_IDLE_MS: '600000' } });
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

/** Everything up to Finish; gives Finish. */
async function sent(protocol: typeof v2 | typeof v3) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const from = callsOf(world.a);
  const begun =
    protocol === v3
      ? await from.begin({ ...names, options: undefined })
      : { ...(await from.dumpXml({ ...names, options: undefined })), cookieOut: Buffer.alloc(0) };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const { cookieOut } = await from.perform({ ...names, protocol, ...way });
  return { names, finish: { ...names, protocol, cookieIn: cookieOut, cancelled: false } };
}

const outcomeAt = (names: { migrationId: string; domain: string }, outcome: Outcome) =>
  eventually('the source has settled it', async () => {
    const { migration } = await callsOf(world.a).get(names);
    return migration?.outcome === outcome ? migration : undefined;
  });

it.each([
  ['v3', v3],
  ['v2', v2],
] as const)('without a Finish the guest goes on at the source: %s', async (_name, protocol) => {
  const { names, finish } = await sent(protocol);
  const { failure } = await outcomeAt(names, Outcome.OUTCOME_FAILED);
  expect(failure).toMatchObject({ reason: 'abandoned' });
  await world.ticksOn(guest);
  await callsOf(world.b).finish({ ...finish, cancelled: true });
  await world.expectSettled(guest, world.a);
});

it('without a Confirm the source’s copy of a guest that has gone on is ended', async () => {
  const { names, finish } = await sent(v3);
  await callsOf(world.b).finish(finish);
  await outcomeAt(names, Outcome.OUTCOME_COMPLETED);
  await world.expectSettled(guest, world.b);
});

it('a Confirm while Redis is away: the source’s copy is ended all the same', async () => {
  const { names, finish } = await sent(v3);
  const { cookieOut } = await callsOf(world.b).finish(finish);
  world.lab.redis.signal('SIGSTOP');
  try {
    await refusal(callsOf(world.a).confirm({ ...names, cookieIn: cookieOut, cancelled: false }));
    const qemus = () => world.lab.qemus().filter(({ domain }) => domain === guest.uuid);
    await eventually('the source’s QEMU has ended', () => qemus().length === 1);
  } finally {
    world.lab.redis.signal('SIGCONT');
  }
  await outcomeAt(names, Outcome.OUTCOME_COMPLETED);
  await world.expectSettled(guest, world.b);
});
