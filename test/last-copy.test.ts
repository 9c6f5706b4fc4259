/** The copy at the destination is whole and may be the only one: it is kept, however long its agent stands still and whoever does not answer. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Outcome, Protocol, Resolution } from '@ferry/proto/ferry/v1/migration';
import { killQemu } from './under-way.ts';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

const { PROTOCOL_V2: v2, PROTOCOL_V3: v3 } = Protocol;
const idleMs = 1_000;

let world: World;
let guest: TestGuest;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_IDLE_MS: String(idleMs), FERRY_LEASE_MS: '2000' } });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  guest = await world.boot(world.a);
});
afterEach(async () => {
  for (const agent of [world.a.source, world.a.dest]) await agent.start().catch(() => undefined);
  for (const host of [world.a, world.b])
    await callsOf(host)
      .destroy(guest.uuid)
      .catch(() => undefined);
});

/** Everything up to Finish; the source agent has not been asked for anything since. */
async function sent(protocol: Protocol) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const [a, b] = [callsOf(world.a), callsOf(world.b)];
  const begun =
    protocol === v3
      ? await a.begin({ ...names, options: undefined })
      : { ...(await a.dumpXml({ ...names, options: undefined })), cookieOut: Buffer.alloc(0) };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await b.prepare({ migrationId: names.migrationId, protocol, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  await a.perform({ ...names, protocol, ...way });
  // Before that a life of the agent that finds no QEMU cannot tell whether the guest had stopped for good.
  await eventually('it is recorded that the guest was sent', async () => {
    const phase = await world.lab.redis.client.hget(`ferry:{${guest.uuid}}:job:a`, 'phase');
    return phase === (protocol === v3 ? 'perform3-done' : 'perform2-done');
  });
  return names;
}

const qemusOn = (host: string) => world.lab.qemus().filter((qemu) => qemu.domain === guest.uuid && qemu.host === host);

describe.each([
  ['v3', v3],
  ['v2', v2],
] as const)('%s', (_name, protocol) => {
  it('the source’s QEMU dies after the vote, and the destination’s agent stands still for longer than its idle limit: the guest runs there', async () => {
    const names = await sent(protocol);
    const { dest } = world.b;
    dest.signal('SIGSTOP');
    const since = performance.now();
    await killQemu(world, world.a, guest);
    await eventually('the idle limit has passed', () => performance.now() - since > 3 * idleMs);
    dest.signal('SIGCONT');
    await world.expectSettled(guest, world.b);
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
  });

  describe('the source’s host is gone after the vote', () => {
    async function sourceGone() {
      const names = await sent(protocol);
      await Promise.all([world.a.source.kill('SIGKILL'), world.a.dest.kill('SIGKILL')]);
      await killQemu(world, world.a, guest);
      const doubt = await eventually('it is in doubt', async () => {
        const { migration } = await callsOf(world.b).getIncoming(names);
        return migration?.outcome === Outcome.OUTCOME_IN_DOUBT ? migration.doubt : undefined;
      });
      const since = performance.now();
      await eventually('several idle limits have passed', () => performance.now() - since > 3 * idleMs);
      expect(qemusOn('b')).toHaveLength(1);
      return { names, doubt };
    }
    const gone = (names: { migrationId: string; domain: string }, resolution: Resolution) =>
      callsOf(world.b).resolveIncoming({ ...names, goneHost: 'a', resolution });

    it('the copy is kept in doubt, and ended by a person’s word', async () => {
      const { names, doubt } = await sourceGone();
      expect(doubt.settledBy).toContain(`ferry resolve ${names.migrationId}`);
      const { migration } = await gone(names, Resolution.RESOLUTION_END_HERE);
      expect(migration).toMatchObject({ active: false, outcome: Outcome.OUTCOME_GUEST_LOST });
      expect(qemusOn('b')).toEqual([]);
    });

    it('the copy continues by a person’s word only where the vote is known', async () => {
      const { names } = await sourceGone();
      if (protocol === v2) {
        const { migration } = await gone(names, Resolution.RESOLUTION_RUN_HERE);
        expect(migration).toMatchObject({ active: false, outcome: Outcome.OUTCOME_COMPLETED });
        await world.ticksOn(guest);
        expect((await callsOf(world.b).where(guest.uuid))[0]).toMatchObject({ host: 'b' });
        await world.a.source.start();
        await world.expectSettled(guest, world.b);
        return;
      }
      const refused = await refusal(gone(names, Resolution.RESOLUTION_RUN_HERE));
      expect(refused).toMatchObject({ reason: 'resolution-disproved' });
      expect(qemusOn('b')).toHaveLength(1);
    });

    it('the copy continues when the source’s agent is back and its QEMU is not', async () => {
      const { names } = await sourceGone();
      await world.a.source.start();
      await world.expectSettled(guest, world.b);
      expect((await callsOf(world.b).getIncoming(names)).migration).toMatchObject({
        outcome: Outcome.OUTCOME_COMPLETED,
      });
    });
  });
});
