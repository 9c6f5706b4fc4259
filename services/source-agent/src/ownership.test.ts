import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { openLog } from '@ferry/agent';
import { OwnerRecords } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import { systemClock } from '@ferry/jobs';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import type { SourceAgent } from './agent.ts';
import { adopt, resume } from './domains.ts';
import { OwnershipKeeper } from './ownership.ts';

const never = new AbortController().signal;
const guest = { uuid: randomUUID(), name: 'web-1' };
const gone = new HypervisorError('domain-not-found', 'its QEMU has ended');

let server: PrivateRedis;
let owners: OwnerRecords;
beforeEach(async () => {
  server = await startRedis();
  owners = new OwnerRecords({ redis: server.client(), host: 'a' });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

/** Host a with its records in a real Redis: what its hypervisor says of the guest is the test's. */
function hostA(hypervisor: object) {
  const done: string[] = [];
  const log = openLog('silent');
  const parts = { hypervisor: { places: async () => [], ...hypervisor }, owners, clock: systemClock, log };
  const ownership = new OwnershipKeeper({
    ...parts,
    host: 'a',
    migrating: async () => false,
    gate: { opened: async () => undefined },
    underJob: (_domain: string, _signal: AbortSignal, act: () => Promise<void>) => act(),
  } as unknown as ConstructorParameters<typeof OwnershipKeeper>[0]);
  const jobs = {
    beginJob: async () => ({ [Symbol.asyncDispose]: async () => undefined }),
    activeOf: async () => undefined,
  };
  const agent = { ...parts, config: { host: { name: 'a' } }, ownership, jobs, migrations: { all: () => [] } };
  return { agent: agent as unknown as SourceAgent, ownership, done };
}

const monitor = (done: string[]) => ({
  execute: async (command: string) => {
    done.push(command);
    return { status: 'paused' };
  },
  closed: new AbortController().signal,
});

/** Adopts the guest; `meanwhile` happens between the claim and the adoption. */
async function adopting(meanwhile: (ownership: OwnershipKeeper) => Promise<void>): Promise<void> {
  const { agent, ownership, done } = hostA({
    readGiven: async () => guest,
    known: async () => undefined,
    find: () => Promise.reject(gone),
    guest: () => Promise.reject(gone),
    domainOf: async () => ({ memoryBytes: 0n, vcpus: 0 }),
    adopt: async () => {
      await meanwhile(ownership);
      return { ...guest, monitor: monitor(done), process: { pid: 1, startTime: '1' } };
    },
  });
  // What Adopt says of the guest afterwards is of no interest here.
  await adopt(agent, { domainXml: '', monitorPath: '/m' }, never).catch(() => undefined);
}

it('a guest that is started while it is looked at is not given up by that look', async () => {
  await owners.claim(guest, 'start', 'started', never);
  const { ownership } = hostA({
    find: async () => {
      await owners.claim(guest, 'start', 'started again', never);
      throw gone;
    },
  });
  await ownership.lookAt(guest.uuid, never);
  expect(await owners.of(guest.uuid, never)).toMatchObject({ host: 'a', epoch: 2 });
});

it('a guest that is being adopted is not given up because it is not here yet', async () => {
  await adopting((ownership) => ownership.lookAt(guest.uuid, never));
  expect(await owners.of(guest.uuid, never)).toMatchObject({ host: 'a' });
});

it('a guest that was adopted is another one: a release that means the one before comes to nothing', async () => {
  const before = await owners.claim(guest, 'start', 'started', never);
  await adopting(async () => undefined);
  await owners.release(before, 'it has ended', never);
  expect(await owners.of(guest.uuid, never)).toMatchObject({ host: 'a', epoch: before.epoch + 1 });
});

it('a guest that was paused while another host was given it is not resumed', async () => {
  await new OwnerRecords({ redis: server.client(), host: 'b' }).claim(guest, 'start', 'started', never);
  const done: string[] = [];
  const { agent } = hostA({ find: async () => guest, guest: async () => ({ ...guest, monitor: monitor(done) }) });
  await expect(resume(agent, guest.uuid, never)).rejects.toMatchObject({ kind: 'owned-elsewhere' });
  expect(done).not.toContain('cont');
});

/** A guest whose Start was cut off, in that run state. */
function cutOff(runState: string) {
  const { ownership, done } = hostA({
    places: async () => [guest.uuid],
    find: async () => ({ ...guest, starting: true }),
    guest: async () => ({ ...guest, monitor: monitor([]) }),
    runState: async () => runState,
    settle: async () => void done.push('settled'),
    end: async () => void done.push('ended'),
  });
  return { ownership, done };
}

it('a QEMU whose Start was cut off before its guest ran is ended, and not while it is started', async () => {
  const { ownership, done } = cutOff('prelaunch');
  {
    using _coming = ownership.expect(guest.uuid);
    await ownership.lookAt(guest.uuid, never);
    await ownership.endIfNeverStarted(guest.uuid, never);
    expect(done).toEqual([]);
  }
  await ownership.lookAt(guest.uuid, never);
  expect(done).toEqual(['ended']);
  await ownership.endIfNeverStarted(guest.uuid, never);
  expect(done).toEqual(['ended', 'ended']);
});

it.each(['running', 'paused'])('a guest whose Start was cut off after it ran is kept: %s', async (runState) => {
  const { ownership, done } = cutOff(runState);
  await ownership.lookAt(guest.uuid, never);
  expect(done).toEqual(['settled']);
});
