import type { Report } from '../codec/element-codec.ts';
import type { Disk } from '../vocabulary/disk.ts';

type Bus = NonNullable<Disk['target']['bus']>;

interface Part {
  readonly at: string;
  readonly isIn: (disk: Disk) => boolean;
  readonly buses?: readonly Bus[];
  readonly devices?: readonly Disk['device'][];
}

const driven: readonly Bus[] = ['ide', 'sata', 'scsi'];

/** What QEMU has of some drives only, and would not show of others (qemuValidateDomainDeviceDefDiskFrontend). */
const parts: readonly Part[] = [
  { at: '/vendor', isIn: (disk) => disk.vendor !== undefined, buses: ['scsi'] },
  { at: '/product', isIn: (disk) => disk.product !== undefined, buses: ['scsi'] },
  { at: '/wwn', isIn: (disk) => disk.wwn !== undefined, buses: driven },
  { at: '/serial', isIn: (disk) => disk.serial !== undefined, buses: [...driven, 'virtio', 'usb'] },
  { at: '/geometry', isIn: (disk) => disk.geometry !== undefined, buses: [...driven, 'virtio'], devices: ['disk'] },
  { at: '/geometry/@trans', isIn: (disk) => disk.geometry?.trans !== undefined, buses: ['ide', 'sata'] },
  {
    at: '/target/@rotation_rate',
    isIn: (disk) => disk.target.rotation_rate !== undefined,
    buses: driven,
    devices: ['disk'],
  },
  { at: '/target/@tray', isIn: (disk) => disk.target.tray !== undefined, devices: ['cdrom', 'floppy'] },
];

/** A disk says nothing of itself that its kind of device has not. */
export function checkDiskParts(disk: Disk, bus: Bus, report: Report): void {
  const wrong: string[] = [];
  for (const { at, isIn, buses, devices } of parts) {
    const isAllowed = (buses?.includes(bus) ?? true) && (devices?.includes(disk.device) ?? true);
    if (!isIn(disk) || isAllowed || wrong.some((one) => at.startsWith(`${one}/`))) continue;
    wrong.push(at);
    const name = at.slice(at.lastIndexOf('/') + 1).replace('@', '');
    const whose = buses?.includes(bus) === false ? `a disk on ${bus}` : `a ${disk.device}`;
    report('xml-invalid', at, `${whose} has no ${name}`, 'Remove it');
  }
  const { device, driver, readonly, shareable } = disk;
  if (device === 'disk' && readonly !== undefined && (bus === 'ide' || bus === 'sata'))
    report('xml-invalid', '/readonly', `a disk on ${bus} can be written to`, "Use bus='virtio' or 'scsi'");
  if (shareable !== undefined && readonly === undefined && (driver?.type ?? 'raw') !== 'raw')
    report('xml-invalid', '/shareable', `two guests cannot write to one ${driver?.type} image`, "Use type='raw'");
}
