/** A guest that has stopped by itself, in each of QEMU's states for that: sent, taken back, given up while memory flows. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { SecondMonitors } from './second-monitor.ts';
import { startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const versions = [
  ['v3', Protocol.PROTOCOL_V3],
  ['v2', Protocol.PROTOCOL_V2],
] as const;

let world: World;
let monitors: SecondMonitors;
/** Has no space for what a guest writes to its disk. */
let full: string;
let guest: TestGuest | undefined;
beforeAll(async () => {
  monitors = new SecondMonitors();
  world = await World.start({ env: { FERRY_QEMU: monitors.qemu } });
  full = join(world.lab.files, 'full');
  mkdirSync(full);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'full', full]);
});
afterEach(async () => {
  for (const host of [world.a, world.b])
    if (guest !== undefined)
      await callsOf(host)
        .destroy(guest.uuid)
        .catch(() => undefined);
});
afterAll(async () => {
  execFileSync('umount', [full]);
  await world[Symbol.asyncDispose]();
  monitors[Symbol.dispose]();
});

const atSource = (one: TestGuest, command: string, args: object = {}) =>
  monitors.execute(world, world.a, one, command, args);

/** Does not end by itself, until it is told to hurry. */
const slow = { bandwidthBytesPerSecond: 500_000n, downtimeLimitMs: 1, unsafe: true };
const hurry = (one: TestGuest) =>
  atSource(one, 'migrate-set-parameters', { 'max-bandwidth': 1_000_000_000, 'downtime-limit': 300 });

/** Writes to a port of the machine, as the guest could. */
const port = (one: TestGuest, size: 'b' | 'w', address: number, value: number) =>
  atSource(one, 'human-monitor-command', { 'command-line': `o /${size} ${address} ${value}` });

/** A sector is written to the first IDE disk. */
async function writeSector(one: TestGuest): Promise<void> {
  for (const [address, value] of [
    [0x1f6, 0xe0],
    [0x1f2, 1],
    [0x1f3, 0],
    [0x1f4, 0],
    [0x1f5, 0],
    [0x1f7, 0x30],
  ] as const)
    await port(one, 'b', address, value);
  for (let word = 0; word < 256; word += 1) await port(one, 'w', 0x1f0, word);
}

interface OwnStop {
  readonly runState: string;
  readonly shown: DomainState;
  readonly resumable: boolean;
  readonly describe: (xml: string) => string;
  readonly stop: (one: TestGuest) => Promise<unknown>;
}

const { DOMAIN_STATE_CRASHED, DOMAIN_STATE_PAUSED, DOMAIN_STATE_SHUTDOWN } = DomainState;

const ownStops: readonly OwnStop[] = [
  {
    runState: 'guest-panicked',
    shown: DOMAIN_STATE_CRASHED,
    resumable: true,
    describe: (xml) => xml.replace('<devices>', "<on_crash>preserve</on_crash><devices><panic model='isa'/>"),
    stop: (one) => port(one, 'b', 0x505, 1),
  },
  {
    runState: 'watchdog',
    shown: DOMAIN_STATE_PAUSED,
    resumable: true,
    describe: (xml) => xml.replace('<devices>', "<devices><watchdog model='ib700' action='pause'/>"),
    // Enabled with a timeout of no seconds.
    stop: (one) => port(one, 'b', 0x443, 0x0f),
  },
  {
    runState: 'io-error',
    shown: DOMAIN_STATE_PAUSED,
    resumable: true,
    describe: (xml) => {
      const image = join(full, `${randomUUID()}.raw`);
      writeFileSync(image, '');
      truncateSync(image, 2 ** 24);
      const disk = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/><target dev='hda' bus='ide'/></disk>`;
      return xml.replace('pc-q35-7.2', 'pc-i440fx-7.2').replace('<devices>', `<devices>${disk}`);
    },
    stop: writeSector,
  },
  {
    runState: 'shutdown',
    shown: DOMAIN_STATE_SHUTDOWN,
    resumable: false,
    describe: (xml) =>
      xml.replace('<devices>', '<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot><devices>'),
    stop: (one) => atSource(one, 'system_reset'),
  },
];

async function boot({ describe: described }: OwnStop): Promise<TestGuest> {
  const plain = world.describe();
  const one = { ...plain, xml: described(plain.xml) };
  guest = one;
  await callsOf(world.a).start(one.xml);
  await world.ticksOn(one);
  return one;
}

async function stopAs({ runState, stop }: OwnStop, one: TestGuest): Promise<void> {
  await stop(one);
  await eventually(`the guest is ${runState}`, async () => {
    const { status } = (await atSource(one, 'query-status')) as { status: string };
    return status === runState;
  });
}

/** It is shown in its state, and can be resumed if QEMU does so in that state. */
async function expectStopped(one: TestGuest, host: 'a' | 'b', { runState, shown, resumable }: OwnStop): Promise<void> {
  const at = world.lab.host(host);
  const { ticks } = world.report(one);
  expect(await world.domainOn(at, one)).toMatchObject({ state: shown, job: '' });
  if (!resumable) {
    const refused = await refusal(callsOf(at).resume(one.name));
    expect(refused).toMatchObject({ reason: 'domain-not-running' });
    expect(refused.message).toContain(`is ${runState}`);
    expect(world.report(one).ticks).toBe(ticks);
    return;
  }
  rmSync(join(full, 'filling'), { force: true });
  await callsOf(at).resume(one.name);
  await world.expectSettled(one, at);
  expect(await world.domainOn(at, one)).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
}

/** Everything up to Perform, by the caller; the guest stops while memory flows. */
async function send(one: TestGuest, protocol: Protocol, own: OwnStop) {
  const names = { migrationId: randomUUID(), domain: one.uuid };
  const [a, b] = [callsOf(world.a), callsOf(world.b)];
  const begun =
    protocol === Protocol.PROTOCOL_V3
      ? await a.begin({ ...names, options: slow })
      : { domainXml: (await a.dumpXml({ ...names, options: slow })).domainXml, cookieOut: none };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await b.prepare({ migrationId: names.migrationId, protocol, ...place });
  const { cookieOut: cookieIn, migrationUri } = prepared;
  const performing = a.perform({ ...names, protocol, cookieIn, migrationUri, options: slow });
  await eventually('memory flows', async () => {
    const { status } = (await atSource(one, 'query-migrate')) as { status?: string };
    return status === 'active';
  });
  await stopAs(own, one);
  await hurry(one);
  await performing;
  return names;
}

function fill(): void {
  try {
    writeFileSync(join(full, 'filling'), Buffer.alloc(2 ** 20));
  } catch {
    // It is full.
  }
}

describe.each(ownStops.map((own) => [own.runState, own] as const))('a guest that is %s', (_state, own) => {
  it.each(versions)('arrives so, if that happens while memory flows (%s)', async (_name, protocol) => {
    fill();
    const one = await boot(own);
    const { events } = await startMigration(world, one, { protocol, options: slow });
    await stopAs(own, one);
    await hurry(one);
    const end = endOf(await events);
    expect(end.failure).toBeUndefined();
    expect(end).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, statistics: { blackoutUs: 0n, resumedAtUs: 0n } });
    await world.expectSettled(one, world.b);
    await expectStopped(one, 'b', own);
  });

  it.each(versions)('is so still when it was sent and taken back (%s)', async (_name, protocol) => {
    fill();
    const one = await boot(own);
    const names = await send(one, protocol, own);
    await callsOf(world.b).finish({ ...names, protocol, cookieIn: none, cancelled: true });
    if (protocol === Protocol.PROTOCOL_V3)
      await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await world.expectSettled(one, world.a);
    await world.a.source.restart();
    const again = endOf(await world.migrate(one, { protocol }));
    expect(again).toMatchObject({ outcome: Outcome.OUTCOME_FAILED, failure: { reason: 'domain-not-running' } });
    await expectStopped(one, 'a', own);
  });

  it('is so still when the migration is given up while memory flows', async () => {
    fill();
    const one = await boot(own);
    const { events, ...names } = await startMigration(world, one, { options: slow });
    await stopAs(own, one);
    await callsOf(world.a).abort(names);
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_CANCELLED });
    await world.expectSettled(one, world.a);
    await expectStopped(one, 'a', own);
  });
});
