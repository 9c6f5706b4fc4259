/** A disk that another process has locked keeps the destination's QEMU from starting the guest: it goes back to the source, if there still is one. */
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { killQemu } from './under-way.ts';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const options = { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 0, unsafe: true };

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

/** A running guest with a disk that both hosts see. */
async function bootWithDisk(): Promise<{ guest: TestGuest; file: string }> {
  const described = world.describe();
  const file = join(world.lab.files, `${described.uuid}.qcow2`);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, '16M']);
  const disk = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${file}'/><target dev='vda' bus='virtio'/></disk>`;
  const guest = { ...described, xml: described.xml.replace('<devices>', `<devices>${disk}`) };
  await callsOf(world.a).start(guest.xml);
  await world.ticksOn(guest);
  return { guest, file };
}

/** Another process that has the image open for writing, with QEMU's locks, until disposed of. */
async function lock(file: string): Promise<AsyncDisposable> {
  const holder = spawn('qemu-io', ['-f', 'qcow2', file], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(holder, 'exit');
  const opened = once(holder.stdout, 'data');
  await Promise.race([opened, ended.then(() => Promise.reject(new Error(`qemu-io cannot open ${file}`)))]);
  return {
    [Symbol.asyncDispose]: async () => {
      holder.kill('SIGKILL');
      await ended;
    },
  };
}

/** All phases before Finish. */
async function send(guest: TestGuest, protocol: Protocol) {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const { a, b } = { a: callsOf(world.a), b: callsOf(world.b) };
  const begun =
    protocol === Protocol.PROTOCOL_V3
      ? await a.begin({ ...names, options })
      : { ...(await a.dumpXml({ ...names, options })), cookieOut: none };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await b.prepare({ migrationId: names.migrationId, protocol, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options };
  const { cookieOut } = await a.perform({ ...names, protocol, ...way });
  return { ...names, protocol, cookieIn: cookieOut, cancelled: false };
}

const refusedStart = { reason: 'qemu-refused', side: Side.SIDE_DEST, message: expect.stringMatching(/lock/i) };

describe('a guest whose disk is locked when it is to run on the destination', () => {
  it('runs on at the source (v3); the destination says why', async () => {
    const { guest, file } = await bootWithDisk();
    const finish = await send(guest, Protocol.PROTOCOL_V3);
    {
      await using _locked = await lock(file);
      expect(await refusal(callsOf(world.b).finish(finish))).toMatchObject(refusedStart);
    }
    const { outcome } = await callsOf(world.a).confirm({ ...finish, cookieIn: none, cancelled: true });
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
    expect(await callsOf(world.a).where(guest.uuid)).toMatchObject([{ host: 'a' }]);
    expect((await callsOf(world.b).getIncoming(finish)).migration).toMatchObject({
      outcome: Outcome.OUTCOME_FAILED,
      failure: refusedStart,
    });
    await callsOf(world.a).destroy(guest.name);
  });

  it('runs on at the source (v2), which acts by itself', async () => {
    const { guest, file } = await bootWithDisk();
    const finish = await send(guest, Protocol.PROTOCOL_V2);
    {
      await using _locked = await lock(file);
      expect(await refusal(callsOf(world.b).finish(finish))).toMatchObject(refusedStart);
    }
    await world.expectSettled(guest, world.a);
    expect(await callsOf(world.a).where(guest.uuid)).toMatchObject([{ host: 'a' }]);
    await callsOf(world.a).destroy(guest.name);
  });

  it('waits there until it can be started, if the source’s QEMU has ended', async () => {
    const { guest, file } = await bootWithDisk();
    const finish = await send(guest, Protocol.PROTOCOL_V3);
    await killQemu(world, world.a, guest);
    {
      await using _locked = await lock(file);
      const confirming = callsOf(world.a).confirm({ ...finish, cookieIn: none, cancelled: true });
      // The source hands the guest over, and the only copy is not given up because it cannot be started yet.
      confirming.catch(() => undefined);
      await eventually('the destination has been refused', () =>
        /Failed to get/.test(world.b.dest.log.lines(0).join()),
      );
      expect(await world.hostsOf(guest)).toContain('b');
    }
    await world.expectSettled(guest, world.b);
    expect((await callsOf(world.b).getIncoming(finish)).migration).toMatchObject({
      outcome: Outcome.OUTCOME_COMPLETED,
    });
    await callsOf(world.b).destroy(guest.name);
  });
});
