/** What a running QEMU has that its document does not say: followed where the document can, else found before memory flows, and named. */
import { writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { SecondMonitors } from './second-monitor.ts';
import { callsOf, endOf, eventually, type TestGuest, World } from './world.ts';

const versions: [string, Protocol][] = [
  ['v3', Protocol.PROTOCOL_V3],
  ['v2', Protocol.PROTOCOL_V2],
];

/** Of query-block. */
interface Drive {
  readonly qdev?: string;
}

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
const human = async (host: LabHost, line: string): Promise<string> =>
  String(await monitors.execute(world, host, guest, 'human-monitor-command', { 'command-line': line }));

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

it('a tray that is open, and a medium that was put in, arrive so', async () => {
  const [first, second, beside] = [image('first.iso', 1), image('second.iso', 1), image('beside.iso', 1)];
  const drive = (file: string, dev: string): string =>
    `<disk type='file' device='cdrom'><source file='${file}'/><target dev='${dev}' bus='sata'/><readonly/></disk>`;
  await boot((xml) => xml.replace('</devices>', `${drive(first, 'sda')}${drive(beside, 'sdb')}</devices>`));
  const { domainXml } = await callsOf(world.a).getDomain(guest.uuid);
  const [changed, opened] = [...domainXml.matchAll(/<disk [^]*?<alias name='([^']+)'/g)].map(([, id]) => id);
  await atSource('blockdev-change-medium', {
    id: changed,
    filename: second,
    format: 'raw',
    'read-only-mode': 'retain',
  });
  await atSource('blockdev-open-tray', { id: opened, force: true });
  await Promise.all([rm(first), rm(beside)]);
  expect(endOf(await world.migrate(guest)).failure).toBeUndefined();
  await world.expectSettled(guest, world.b);
  const drives = (await monitors.execute(world, world.b, guest, 'query-block')) as Drive[];
  const driveOf = (id = ''): Drive | undefined => drives.find(({ qdev }) => qdev?.split('/').includes(id) === true);
  expect(driveOf(changed)).toMatchObject({ tray_open: false, inserted: { file: second } });
  expect(driveOf(opened)).toMatchObject({ tray_open: true });
  expect(driveOf(opened)).not.toHaveProperty('inserted');
});

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

it('a device that was unplugged through another monitor is named before memory flows', async () => {
  const tablet = "<controller type='usb' model='qemu-xhci'/><input type='tablet' bus='usb'/>";
  await boot((xml) => xml.replace("<controller type='usb' model='none'/>", tablet));
  const { domainXml } = await callsOf(world.a).getDomain(guest.uuid);
  const id = /<input type='tablet'[^]*?<alias name='([^']+)'/.exec(domainXml)?.[1];
  await atSource('device_del', { id });
  const { outcome, failure } = endOf(await world.migrate(guest));
  expect(outcome).toBe(Outcome.OUTCOME_FAILED);
  expect(failure).toMatchObject({ reason: 'migration-blocked', side: Side.SIDE_SOURCE });
  expect(failure?.message).toContain(`${id} was unplugged`);
  await world.expectSettled(guest, world.a);
});

describe('what QEMU itself sends with a device', () => {
  /** Where a card or the balloon shows its guest what it is: none of it can be asked for over QMP. The test guest leaves PCI as it finds it. */
  const places = {
    virtio: { bar: 0xc001, look: 'i /b 0xc01a', bit: 0x1 },
    e1000: { bar: 0xe000_0000, look: 'xp /1wx 0xe0000008', bit: 0x2 },
    e1000e: { bar: 0xe010_0000, look: 'xp /1wx 0xe0100008', bit: 0x2 },
    rtl8139: { bar: 0xc101, look: 'i /h 0xc164', bit: 0x4 },
  } as const;
  type Model = keyof typeof places;

  /** Gives the device in a slot a place in its guest's address space, as firmware does. */
  async function place(slot: number, bar: number): Promise<void> {
    const write = async (register: number, value: number): Promise<void> => {
      await human(world.a, `o /w 0xcf8 ${0x8000_0000 + slot * 0x800 + register}`);
      await human(world.a, `o /w 0xcfc ${value}`);
    };
    await write(0x10, bar);
    await write(0x04, 0x7);
  }

  const valueOf = (said: string): number => Number(/(?:=|:)\s*(0x[0-9a-f]+)/.exec(said)?.[1]);

  /** Alias and slot of the device that the pattern finds in the document. */
  async function device(pattern: RegExp): Promise<{ id: string; slot: number }> {
    const { domainXml } = await callsOf(world.a).getDomain(guest.uuid);
    const element = pattern.exec(domainXml)?.[0] ?? '';
    const id = /<alias name='([^']+)'/.exec(element)?.[1] ?? '';
    return { id, slot: Number(/<address type='pci'[^>]* slot='([^']+)'/.exec(element)?.[1]) };
  }

  const models = Object.keys(places) as Model[];
  it.each(models.flatMap((model) => [[model, true] as const, [model, false] as const]))(
    'that the link of a card was set otherwise than its document says: %s, up %s',
    async (model, up) => {
      const { bar, look, bit } = places[model];
      const state = up ? 'down' : 'up';
      const card = `<interface type='user'><model type='${model}'/><link state='${state}'/></interface>`;
      await boot((xml) => xml.replace('pc-q35-7.2', 'pc-i440fx-7.2').replace('</devices>', `${card}</devices>`));
      const { id, slot } = await device(/<interface [^]*?<\/interface>/);
      await place(slot, bar);
      const isUp = async (host: LabHost): Promise<boolean> => (valueOf(await human(host, look)) & bit) !== 0;
      expect(await isUp(world.a)).toBe(!up);
      await atSource('set_link', { name: id, up });
      // Some negotiate first.
      await eventually('the guest sees it', async () => (await isUp(world.a)) === up);
      expect(endOf(await world.migrate(guest)).failure).toBeUndefined();
      await world.expectSettled(guest, world.b);
      expect(await isUp(world.b)).toBe(up);
    },
  );

  it('how much memory the balloon is to leave', async () => {
    await boot((xml) =>
      xml.replace('pc-q35-7.2', 'pc-i440fx-7.2').replace("<memballoon model='none'/>", "<memballoon model='virtio'/>"),
    );
    const { slot } = await device(/<memballoon [^]*?<\/memballoon>/);
    await place(slot, 0xc201);
    const pages = async (host: LabHost): Promise<number> => valueOf(await human(host, 'i /w 0xc214'));
    expect(await pages(world.a)).toBe(0);
    await atSource('balloon', { value: 32 * 1024 ** 2 });
    expect(await pages(world.a)).toBe(8192);
    expect(endOf(await world.migrate(guest)).failure).toBeUndefined();
    await world.expectSettled(guest, world.b);
    expect(await pages(world.b)).toBe(8192);
  });
});
