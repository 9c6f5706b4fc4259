import type { DriveAddress } from '../vocabulary/address.ts';
import type { Disk } from '../vocabulary/disk.ts';

/** `sda` is 0, `sdz` 25, `sdaa` 26 (virDiskNameToIndex). */
export function diskIndex(dev: string): number {
  let index = 0;
  for (const letter of dev.slice(2)) index = index * 26 + (letter.charCodeAt(0) - 96);
  return index - 1;
}

/** Fills in a disk's bus, by the beginning of its name, what is below its image, and its place on a bus of drives. */
export function completeDisk(given: Disk): Disk {
  const disk = given.type === 'network' && given.source === undefined ? emptyDrive(given) : given;
  const bus = disk.target.bus ?? busOf(disk);
  // Only a USB disk can be told to be removable; of others libvirt does not read it.
  const { removable: _removable, tray, ...others } = disk.target;
  // A closed tray is what a drive has.
  const rest = tray === 'open' ? { ...others, tray } : others;
  const cdrom = disk.device === 'cdrom' ? { readonly: {} } : {};
  const withBus: Disk = {
    ...disk,
    driver: disk.driver ?? { name: 'qemu', type: 'raw' },
    target:
      bus === 'usb' && disk.target.removable !== undefined
        ? { ...rest, removable: disk.target.removable, bus }
        : { ...rest, bus },
    ...cdrom,
  };
  const address = disk.address === undefined ? driveAddress(bus, diskIndex(disk.target.dev)) : undefined;
  return address === undefined ? withBus : { ...withBus, address };
}

/** A drive without a medium is on no network (virDomainDiskDefParsePrivateData…, qemuDomainDeviceDiskDefPostParse). */
function emptyDrive(disk: Extract<Disk, { type: 'network' }>): Disk {
  const { source: _source, ...rest } = disk;
  return { ...rest, type: 'file' };
}

/** Disks of one bus stand together, by name, whatever their order in the document (virDomainDiskInsert). */
export function inDiskOrder(disks: readonly Disk[]): readonly Disk[] {
  const ordered: Disk[] = [];
  for (const disk of disks) {
    const sameBus = (other: Disk) => other.target.bus === disk.target.bus;
    const before = ordered.findIndex(
      (other) => sameBus(other) && diskIndex(other.target.dev) > diskIndex(disk.target.dev),
    );
    const after = ordered.findLastIndex(sameBus);
    const at = before >= 0 ? before : after >= 0 ? after + 1 : ordered.length;
    ordered.splice(at, 0, disk);
  }
  return ordered;
}

type Bus = NonNullable<Disk['target']['bus']>;

function busOf(disk: Disk): Bus {
  if (disk.device === 'floppy') return 'fdc';
  const prefixes: Readonly<Record<string, Bus>> = { vd: 'virtio', sd: 'scsi', hd: 'ide', fd: 'fdc', ub: 'usb' };
  return prefixes[disk.target.dev.slice(0, 2)] ?? 'virtio';
}

/** How many drives a controller takes, and where on it (virDomainDiskDefAssignAddress). */
function driveAddress(bus: Bus, index: number): DriveAddress | undefined {
  const address = (perController: number, place: (rest: number) => { bus: number; unit: number }): DriveAddress => ({
    type: 'drive',
    controller: Math.floor(index / perController),
    target: 0,
    ...place(index % perController),
  });
  switch (bus) {
    case 'ide':
      return address(4, (rest) => ({ bus: Math.floor(rest / 2), unit: rest % 2 }));
    case 'scsi':
      return address(7, (unit) => ({ bus: 0, unit }));
    case 'sata':
      return address(6, (unit) => ({ bus: 0, unit }));
    case 'fdc':
      return address(2, (unit) => ({ bus: 0, unit }));
    case 'virtio':
    case 'usb':
      return undefined;
    default:
      return bus satisfies never;
  }
}
