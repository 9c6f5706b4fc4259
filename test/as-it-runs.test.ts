/** What a running QEMU has that its document does not say: followed where the document can, else found before memory flows, and named. */
import { writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { SecondMonitors } from './second-monitor.ts';
import { callsOf, endOf, type TestGuest, World } from './world.ts';

const versions: [string, Protocol][] = [
  ['v3', Protocol.PROTOCOL_V3],
  ['v2', Protocol.PROTOCOL_V2],
];

let world: World;
let monitors: SecondMonitors;
let guest: TestGuest;
beforeAll(async () => {
  monitors = new SecondMonitors();
  world = await World.start({ env: { FERRY_QEMU: monitors.qemu } });
});
afterEach(async () => {
  for (const host of [world.a, world.b])
    if ((await world.domainOn(host, guest)) !== undefined) await callsOf(host).destroy(guest.uuid);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  monitors[Symbol.dispose]();
});

const atSource = (command: string, args: object = {}) => monitors.execute(world, world.a, guest, command, args);

async function boot(alter: (xml: string) => string): Promise<void> {
  guest = world.describe();
  await callsOf(world.a).start(alter(guest.xml));
  await world.ticksOn(guest);
}

function image(name: string, mib: number): string {
  const file = join(world.lab.files, name);
  writeFileSync(file, Buffer.alloc(mib * 1024 ** 2, 7));
  return file;
}

it.each(versions)(
  '%s: a CD that was ejected stays behind, and its image need not be there',
  async (_name, protocol) => {
    const file = image(`${protocol}.iso`, 1);
    const disk = `<disk type='file' device='cdrom'><source file='${file}'/><target dev='sda' bus='sata'/><readonly/></disk>`;
    await boot((xml) => xml.replace('</devices>', `${disk}</devices>`));
    const { domainXml } = await callsOf(world.a).getDomain(guest.uuid);
    const id = /<disk [^]*?<alias name='([^']+)'/.exec(domainXml)?.[1];
    await atSource('eject', { id, force: true });
    await rm(file);
    expect(endOf(await world.migrate(guest, { protocol })).failure).toBeUndefined();
    await world.expectSettled(guest, world.b);
    expect((await callsOf(world.b).getDomain(guest.uuid)).domainXml).not.toContain(file);
  },
);

it.each(versions)('%s: a block job on its images is named before memory flows', async (_name, protocol) => {
  const [file, target] = [image(`disk-${protocol}.raw`, 8), image(`backup-${protocol}.raw`, 8)];
  const disk = `<disk type='file'><driver name='qemu' type='raw' cache='none'/><source file='${file}'/><target dev='vda' bus='virtio'/></disk>`;
  await boot((xml) => xml.replace('</devices>', `${disk}</devices>`));
  await atSource('blockdev-add', { driver: 'file', 'node-name': 'bk', filename: target });
  const nodes = (await atSource('query-named-block-nodes')) as { 'node-name': string; file: string; drv: string }[];
  const device = nodes.find((node) => node.file === file && node.drv === 'file')?.['node-name'];
  await atSource('blockdev-backup', { 'job-id': 'b1', device, target: 'bk', sync: 'full', speed: 200_000 });
  const { outcome, failure } = endOf(await world.migrate(guest, { protocol }));
  expect(outcome).toBe(Outcome.OUTCOME_FAILED);
  expect(failure).toMatchObject({ reason: 'migration-blocked', side: Side.SIDE_SOURCE, retryable: false });
  expect(failure?.message).toContain('backup job b1');
  await world.expectSettled(guest, world.a);
});

it.each(versions)(
  '%s: a device that was plugged in through another monitor is named before memory flows',
  async (_name, protocol) => {
    await boot((xml) => xml.replace('pc-q35-7.2', 'pc-i440fx-7.2'));
    await atSource('device_add', { driver: 'virtio-rng-pci', id: 'rng9' });
    const { outcome, failure } = endOf(await world.migrate(guest, { protocol }));
    expect(outcome).toBe(Outcome.OUTCOME_FAILED);
    expect(failure).toMatchObject({ reason: 'migration-blocked', side: Side.SIDE_SOURCE });
    expect(failure?.message).toContain('rng9 (virtio-rng-pci) was plugged in');
    await world.expectSettled(guest, world.a);
  },
);
