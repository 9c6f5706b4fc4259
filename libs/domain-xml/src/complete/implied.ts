import { createHash } from 'node:crypto';
import type { Domain } from '../domain.ts';
import type { Console, Serial } from '../vocabulary/chardev.ts';
import type { Controller } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { Disk } from '../vocabulary/disk.ts';

/** The devices that a libvirt machine has although nobody asked, and the parts of devices that nobody gave. */
export function addImpliedDevices(document: Domain['document']): Domain['document'] {
  const { devices } = document;
  const q35 = (document.os.type.machine ?? 'pc').includes('q35');
  const disks = devices.disk.map(withBus).map(withDriveAddress);
  const { serial, console } = linkConsoles(devices);
  return {
    ...document,
    devices: {
      ...devices,
      disk: disks,
      controller: controllersOf(devices.controller, disks, q35),
      interface: devices.interface.map((card, i) => ({
        ...card,
        mac: card.mac ?? { address: madeUpMac(document.uuid, i) },
        model: card.model ?? { type: 'virtio' },
      })),
      serial,
      console,
      memballoon: devices.memballoon ?? { model: 'virtio' },
    },
  };
}

const withBus = (disk: Disk): Disk =>
  disk.target.bus !== undefined
    ? disk
    : { ...disk, target: { ...disk.target, bus: disk.target.dev.startsWith('vd') ? 'virtio' : 'sata' } };

/** `sda` is 0, `sdz` 25, `sdaa` 26: virDiskNameToIndex. */
export function diskIndex(dev: string): number {
  let index = 0;
  for (const letter of dev.slice(2)) index = index * 26 + (letter.charCodeAt(0) - 96);
  return index - 1;
}

/** An AHCI controller has six ports, one unit each: virDomainDiskDefAssignAddress. */
function withDriveAddress(disk: Disk): Disk {
  if (disk.target.bus !== 'sata' || disk.address !== undefined) return disk;
  const index = diskIndex(disk.target.dev);
  const address = { type: 'drive', controller: Math.floor(index / 6), bus: 0, target: 0, unit: index % 6 } as const;
  return { ...disk, address };
}

function controllersOf(given: readonly Controller[], disks: readonly Disk[], q35: boolean): readonly Controller[] {
  const numbered = number(given);
  const has = (type: Controller['type'], index: number) => numbered.some((c) => c.type === type && c.index === index);
  const sata = new Set(disks.flatMap((d) => (d.address?.type === 'drive' ? [d.address.controller] : [])));
  if (q35) sata.add(0);
  const added: Controller[] = [];
  for (const index of [...sata].toSorted((a, b) => a - b)) if (!has('sata', index)) added.push({ type: 'sata', index });
  if (!has('pci', 0)) added.push({ type: 'pci', index: 0, model: q35 ? 'pcie-root' : 'pci-root' });
  return [...numbered, ...added];
}

/** Controllers without an index get the lowest free one of their type. */
function number(given: readonly Controller[]): readonly Controller[] {
  const taken = new Set(given.map((c) => `${c.type} ${c.index}`));
  return given.map((c) => {
    if (c.index !== undefined) return c;
    let index = 0;
    while (taken.has(`${c.type} ${index}`)) index += 1;
    taken.add(`${c.type} ${index}`);
    return { ...c, index };
  });
}

/** The first console and the first serial port are one device: virDomainDefAddConsoleCompat. */
function linkConsoles(devices: Devices): { serial: readonly Serial[]; console: readonly Console[] } {
  const given = devices.serial[0];
  const [first, ...others] = devices.console;
  const serials: readonly Serial[] =
    given === undefined && first !== undefined ? [{ ...first, target: { type: 'isa-serial' } }] : devices.serial;
  const serial = serials.map(
    (port, i): Serial => ({
      ...port,
      target: { type: 'isa-serial', port: port.target?.port ?? i, model: { name: 'isa-serial' } },
    }),
  );
  const head = serial[0];
  if (head === undefined) return { serial, console: devices.console };
  const linked: Console = { ...head, target: { type: 'serial', port: 0 } };
  return { serial, console: [linked, ...others] };
}

/** QEMU's own prefix; the same document gets the same address each time. */
function madeUpMac(uuid: string, index: number): string {
  const digest = createHash('sha256').update(`${uuid} ${index}`).digest('hex');
  return `52:54:00:${digest.slice(0, 2)}:${digest.slice(2, 4)}:${digest.slice(4, 6)}`;
}
