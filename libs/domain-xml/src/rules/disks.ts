import type { Findings } from '../codec/place.ts';
import { pathOf, type Report } from '../codec/element-codec.ts';
import { completeDisk } from '../complete/disks.ts';
import { type Disk, iotuneNames } from '../vocabulary/disk.ts';
import type { DomainDocument } from '../vocabulary/domain.ts';
import { checkDiskParts } from './disk-parts.ts';
import { checkDrivePlace } from './drive-places.ts';

/** What a disk's bus allows. */
export function checkDisks(
  { devices, iothreads, iothreadids }: DomainDocument,
  q35: boolean,
  findings: Findings,
): void {
  const seen = new Set<string>();
  const threads = new Set(iothreadids?.iothread.map((one) => one.id));
  if (threads.size < (iothreadids?.iothread.length ?? 0)) {
    findings.report(
      'xml-invalid',
      '/domain/iothreadids',
      'two I/O threads have the same id',
      'Number them differently',
    );
  }
  for (let id = 1; threads.size < (iothreads ?? 0); id += 1) threads.add(id);
  devices.disk.forEach((disk, i) => {
    const path = pathOf('/domain/devices', 'disk', devices.disk.length, i);
    const report = (below: string, what: string, hint: string) =>
      findings.report('xml-invalid', `${path}${below}`, what, hint);
    if (seen.has(disk.target.dev))
      report('/target/@dev', `two disks are called ${disk.target.dev}`, 'Give each disk its own name');
    seen.add(disk.target.dev);
    const reportAny: Report = (kind, below, what, hint) => findings.report(kind, `${path}${below}`, what, hint);
    checkBus(disk, q35, reportAny);
    checkDrivePlace(disk, devices.controller, reportAny);
    checkDiskParts(disk, completeDisk(disk).target.bus ?? 'virtio', reportAny);
    const thread = disk.driver?.iothread;
    if (thread !== undefined && !threads.has(thread))
      report('/driver/@iothread', `there is no I/O thread ${thread}`, 'Raise <iothreads>');
  });
  checkGroups(devices.disk, findings);
  checkPlaces(devices.disk, findings);
  devices.controller.forEach((c, i) => {
    const thread = c.type === 'scsi' ? c.driver?.iothread : undefined;
    if (thread === undefined || threads.has(thread)) return;
    const path = pathOf('/domain/devices', 'controller', devices.controller.length, i);
    findings.report('xml-invalid', `${path}/driver/@iothread`, `there is no I/O thread ${thread}`, 'Raise <iothreads>');
  });
}

/** Each drive has a place of its own (virDomainDefCheckDuplicateDriveAddresses), whether it is given or comes from its name. */
function checkPlaces(disks: readonly Disk[], findings: Findings): void {
  const places = disks.map((disk) => {
    const { address, target } = completeDisk(disk);
    if (address?.type !== 'drive') return undefined;
    return [target.bus, address.controller, address.bus, address.target, address.unit].join('/');
  });
  places.forEach((place, i) => {
    if (place === undefined || places.indexOf(place) === i) return;
    const path = pathOf('/domain/devices', 'disk', disks.length, i);
    const at = disks[i]?.address === undefined ? `${path}/target/@dev` : `${path}/address`;
    findings.report('xml-invalid', at, 'another disk is in this place', 'Give each its own');
  });
}

/** A group has one set of limits: disks that name it and others would get those of whichever comes last. */
function checkGroups(disks: readonly Disk[], findings: Findings): void {
  const limitsOf = ({ iotune }: Disk): string => {
    return JSON.stringify(iotuneNames.map((name) => iotune?.[name]));
  };
  const hasLimits = (disk: Disk): boolean => limitsOf(disk) !== limitsOf({ ...disk, iotune: {} });
  disks.forEach((disk, i) => {
    const group = disk.iotune?.group_name;
    if (group === undefined || !hasLimits(disk)) return;
    const first = disks.find((one) => one.iotune?.group_name === group && hasLimits(one));
    if (first === undefined || limitsOf(first) === limitsOf(disk)) return;
    const path = `${pathOf('/domain/devices', 'disk', disks.length, i)}/iotune/group_name`;
    const what = `another disk of group ${group} has other limits`;
    findings.report('xml-unsupported', path, what, 'Give all of a group the same limits');
  });
}

const virtioOnly = [
  'ioeventfd',
  'event_idx',
  'iothread',
  'queues',
  'queue_size',
  'iommu',
  'ats',
  'packed',
  'page_per_vq',
] as const;

function checkBus(disk: Disk, q35: boolean, report: Report): void {
  const { address: where, target } = completeDisk(disk);
  const bus = target.bus ?? 'virtio';
  if (((bus === 'ide' && !q35) || bus === 'fdc') && where?.type === 'drive' && where.controller > 0) {
    const at = disk.address === undefined ? '/target/@dev' : '/address/@controller';
    const what = bus === 'ide' ? 'a pc has one IDE controller' : 'a machine has one floppy controller';
    report('xml-unsupported', at, what, bus === 'ide' ? 'Use SATA' : 'Use fda and fdb');
  }
  if (bus === 'ide' && q35) report('xml-unsupported', '/target/@bus', 'a q35 machine has no IDE', "Use bus='sata'");
  if (disk.device === 'cdrom' && (bus === 'virtio' || bus === 'fdc'))
    report('xml-invalid', '/target/@bus', `a CD-ROM cannot be on ${bus}`, "Use bus='sata' or 'scsi'");
  if ((disk.device === 'floppy') !== (bus === 'fdc'))
    report('xml-invalid', '/target/@bus', `a ${disk.device} cannot be on ${bus}`, "Only a floppy is on bus='fdc'");
  else if (disk.device !== 'cdrom' && (bus === 'fdc') !== target.dev.startsWith('fd'))
    report('xml-invalid', '/target/@dev', `a ${disk.device} is not called ${target.dev}`, 'Use vda, sda or fda');
  if (disk.device === 'disk' && disk.source === undefined)
    report('xml-invalid', '', 'it has no source', 'Only a drive can be empty');
  else if (bus === 'usb' && (disk.source === undefined || target.tray === 'open'))
    report('xml-invalid', '', 'it is empty, and USB has no drives for media', "Use bus='sata' or 'scsi'");
  const address = bus === 'virtio' ? 'pci' : bus === 'usb' ? 'usb' : 'drive';
  if (disk.address !== undefined && disk.address.type !== address) {
    report(
      'xml-invalid',
      '/address/@type',
      `a ${bus} disk has no ${disk.address.type} address`,
      `Make it ${address} or leave it out`,
    );
  }
  if ((bus === 'scsi' || bus === 'usb') && (disk.serial?.length ?? 0) > 36)
    report('xml-unsupported', '/serial', 'QEMU shows at most 36 characters of it on this bus', 'Shorten it');
  if (bus === 'virtio') return;
  for (const name of virtioOnly) {
    if (disk.driver?.[name] !== undefined)
      report('xml-invalid', `/driver/@${name}`, `only a virtio disk has ${name}`, 'Remove it');
  }
  if (disk.model !== undefined) report('xml-invalid', '/@model', 'only a virtio disk has a model', 'Remove it');
}
