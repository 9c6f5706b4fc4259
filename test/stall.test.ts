/** A guest that is stopped for its switchover, and whose stream or destination does not go on: it is taken back soon. Real agents and QEMUs. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { signalProcess } from '@ferry/lab';
import { parseMigrationUri } from '@ferry/migration';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { Caller } from './faults/drive.ts';
import { unsettled } from './faults/judge.ts';
import type { Point } from './faults/points.ts';
import { Proxy } from './faults/proxy.ts';
import { type HostName, Stage, until } from './faults/stage.ts';
import { callsOf, patience, refusal, World } from './world.ts';

it('a stream that stands still before the vote: the source takes the guest back', async () => {
  // Nothing is settled by another limit.
  await using world = await World.start({ env: { FERRY_IDLE_MS: '600000', FERRY_HOLD_MS: '600000' } });
  const guest = await world.boot(world.a);
  const migrationId = randomUUID();
  const names = { migrationId, domain: guest.uuid };
  const protocol = Protocol.PROTOCOL_V2;
  const cookieIn = Buffer.alloc(0);
  const { domainXml } = await callsOf(world.a).dumpXml({ ...names, options: undefined });
  const prepared = await callsOf(world.b).prepare({ migrationId, protocol, domainXml, cookieIn, migrationUri: '' });
  const uri = parseMigrationUri(prepared.migrationUri);
  if (uri.kind !== 'tcp' || uri.port === undefined) throw new Error(`${prepared.migrationUri} is no TCP port`);
  await using stream = await Proxy.listen('tcp', { host: uri.host, port: uri.port });
  // The destination loads all of it, and the source does not hear so.
  stream.mode = 'deaf';
  const way = { cookieIn, migrationUri: `tcp:${stream.address}`, options: undefined };
  const failure = await refusal(callsOf(world.a).perform({ ...names, protocol, ...way }));
  expect(failure).toMatchObject({ reason: 'switchover-stalled', retryable: true });
  await world.ticksOn(guest);
  await callsOf(world.b)
    .finish({ ...names, protocol, cookieIn, cancelled: true })
    .catch(() => undefined);
  await world.expectSettled(guest, world.a);
});

describe('where an agent ends, or hangs, while the guest is stopped', () => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await Stage.start({ defaults: true });
  });
  afterAll(async () => {
    await stage?.[Symbol.asyncDispose]();
  });

  /** Moves a guest, peer to peer; whose agent stands still at a point, what is done then, and where the guest is to be in the end. */
  async function move(side: 'source' | 'dest', point: Point, then: (from: HostName, to: HostName) => Promise<void>) {
    const { guest, at: from } = await stage.guestReady(1);
    const to: HostName = from === 'a' ? 'b' : 'a';
    const host = side === 'source' ? from : to;
    stage.plan(host, side, { stops: [point] });
    stage.watch.forget();
    await using caller = new Caller(stage, { protocol: 3, mode: 'peer', guest, from, to, migrationUri: '' });
    const run = caller.run();
    await until(() => stage.passed(host, side).some(({ stopped }) => stopped), patience());
    stage.plan(host, side, undefined);
    const goesOn = async () => expect(await stage.ticksOn(guest, 20)).toBeDefined();
    await then(from, to);
    await goesOn();
    return {
      settled: async (at: readonly HostName[] = [from]) => {
        await run;
        const isSettled = async () => (await unsettled(stage, guest, caller.migrationId, [])).length === 0;
        expect(await until(isSettled, patience())).toBe(true);
        expect(stage.watch.doubles()).toEqual([]);
        const living = stage.watch.living().map((qemu) => qemu.host);
        expect(at.map((each) => [each])).toContainEqual(living);
      },
      from,
      to,
    };
  }

  const signalQemus = (host: HostName, signal: NodeJS.Signals): void =>
    stage.watch
      .living()
      .filter((qemu) => qemu.host === host)
      .forEach((qemu) => void signalProcess(qemu.process, signal));

  it('a Finish that is not answered: the register is asked, and the guest goes on at the source', async () => {
    // The destination has all of the guest, and does not come to its commit.
    const commit: Point = { phase: 'finish3', act: 'redis:register-commit', nth: 1, when: 'before' };
    const { to, settled } = await move('dest', commit, async () => undefined);
    stage.agent(to, 'dest').signal('SIGCONT');
    await settled();
  });

  it('a destination’s QEMU that does not answer the handshake: the guest goes on at the source meanwhile', async () => {
    const migrate: Point = { phase: 'perform3', act: 'qmp:migrate', nth: 1, when: 'before' };
    const { from, to, settled } = await move('source', migrate, async (leaving, host) => {
      signalQemus(host, 'SIGSTOP');
      const agent = stage.agent(leaving, 'source');
      agent.signal('SIGCONT');
      await agent.untilLogged(({ msg }) => msg === 'the guest is sent again' || undefined);
    });
    signalQemus(to, 'SIGCONT');
    // Sent again in time, or given up by then.
    await settled([from, to]);
  });

  it('an agent that starts lets a guest run on that its life before had stopped, whatever Redis does', async () => {
    const stop: Point = { phase: 'perform3', act: 'event:STOP', nth: 1, when: 'after' };
    const { from, settled } = await move('source', stop, async (host) => {
      stage.lab.redis.signal('SIGSTOP');
      const agent = stage.agent(host, 'source');
      await agent.kill();
      await agent.launch();
    });
    stage.lab.redis.signal('SIGCONT');
    await stage.agent(from, 'source').untilServing();
    await settled();
  });
});
