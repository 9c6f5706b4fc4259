import type { Domain } from '../domain.ts';
import { isQ35 } from '../machines.ts';
import type { BackingStore, Disk } from '../vocabulary/disk.ts';
import { bootIndex } from './boot-order.ts';
import {
  device,
  idOf,
  json,
  type JsonObject,
  onOff,
  pciPlace,
  required,
  usbPlace,
  virtioName,
  virtioOptions,
} from './json.ts';
import { nodePrefix } from './node-names.ts';
import { sourceNode } from './sources.ts';
import { throttleArguments } from './throttling.ts';

/** A disk: what holds its bytes, the format on top of that, and the device. QEMU's own image locks stay as they are. */
export function diskArguments(disk: Disk, domain: Domain): string[] {
  const id = idOf(disk);
  const source = mediumOf(disk);
  const throttled = throttleArguments(
    disk,
    domain.devices.disk.filter((one) => mediumOf(one) !== undefined),
  );
  const node = nodePrefix(id);
  const drive = throttled.length > 0 ? `${node}-throttle` : `${node}-format`;
  const nodes = source === undefined ? [] : [...blockNodes(disk, source), ...throttled];
  const order = bootIndex(disk, domain);
  // A floppy's place in the boot order is a property of its controller.
  const isFloppy = disk.target.bus === 'fdc';
  const floppyBoot =
    isFloppy && order !== undefined
      ? ['-global', `isa-fdc.bootindex${driveOf(disk).unit === 0 ? 'A' : 'B'}=${order}`]
      : [];
  const cache = caches[disk.driver?.cache ?? 'default'];
  return [
    ...floppyBoot,
    ...nodes,
    ...device({
      ...frontend(disk, domain),
      ...(source === undefined ? {} : { drive }),
      id,
      bootindex: isFloppy ? undefined : order,
      'share-rw': disk.shareable === undefined || disk.device !== 'disk' ? undefined : true,
      'write-cache': cache === undefined || disk.device === 'floppy' ? undefined : onOff(cache.writeBack),
      serial: disk.serial,
      werror: errorPolicy(disk.driver?.error_policy),
      rerror: errorPolicy(disk.driver?.rerror_policy ?? disk.driver?.error_policy, true),
      logical_block_size: disk.blockio?.logical_block_size,
      physical_block_size: disk.blockio?.physical_block_size,
      discard_granularity: disk.blockio?.discard_granularity,
    }),
  ];
}

/** What lies beside an open tray is not in the drive. */
const mediumOf = (disk: Disk): JsonObject | undefined =>
  disk.device !== 'disk' && disk.target.tray === 'open' ? undefined : sourceNode(disk);

function blockNodes(disk: Disk, source: JsonObject): string[] {
  const id = nodePrefix(idOf(disk));
  const { driver } = disk;
  const readOnly = disk.readonly !== undefined;
  const cache = caches[driver?.cache ?? 'default'];
  const common = { 'read-only': readOnly, cache: cache?.node, discard: driver?.discard };
  const below = backingNodes(disk.backingStore, id, 1);
  // A document that ends the chain means it, whatever the image's header says.
  const backing = below.name ?? (disk.backingStore === undefined ? undefined : null);
  const storage = { ...source, 'node-name': `${id}-storage`, 'auto-read-only': true, ...common };
  const format = {
    driver: driver?.type ?? 'raw',
    'node-name': `${id}-format`,
    ...common,
    // Without leave to unmap, zeroes are merely detected (virDomainDiskGetDetectZeroesMode).
    'detect-zeroes': driver?.detect_zeroes === 'unmap' && driver.discard !== 'unmap' ? 'on' : driver?.detect_zeroes,
    'discard-no-unref': driver?.discard_no_unref,
    'cache-size': driver?.metadata_cache?.max_size,
    file: `${id}-storage`,
  };
  const top = driver?.type === 'qcow2' && backing !== undefined ? { ...format, backing } : format;
  return [...below.options, '-blockdev', json(storage), '-blockdev', JSON.stringify(top)];
}

/** The images below, the lowest first. */
function backingNodes(
  store: BackingStore | undefined,
  id: string,
  level: number,
): { options: string[]; name?: string } {
  if (store?.path === undefined || store.format === undefined) return { options: [] };
  const below = backingNodes(store.backingStore, id, level + 1);
  const name = `${id}-backing${level}`;
  const file = {
    driver: store.type === 'block' ? 'host_device' : 'file',
    filename: store.path,
    'node-name': `${name}-storage`,
    'read-only': true,
  };
  const format = {
    driver: store.format,
    'node-name': name,
    'read-only': true,
    ...(store.metadataCache === undefined ? {} : { 'cache-size': store.metadataCache }),
    file: `${name}-storage`,
  };
  const chained =
    store.format === 'qcow2' && store.backingStore !== undefined ? { ...format, backing: below.name ?? null } : format;
  return { options: [...below.options, '-blockdev', json(file), '-blockdev', JSON.stringify(chained)], name };
}

/** The device that the guest sees. */
function frontend(disk: Disk, domain: Domain): JsonObject {
  const { controller: all } = domain.devices;
  const media = disk.device === 'cdrom' ? 'cd' : 'hd';
  const { bus = 'virtio' } = disk.target;
  const wwn = disk.wwn === undefined ? undefined : BigInt(`0x${disk.wwn.replace(/^0x/, '')}`);
  const spinning = media === 'hd' ? { rotation_rate: disk.target.rotation_rate, ...geometryOf(disk) } : {};
  if (bus === 'virtio') {
    return {
      driver: virtioName('virtio-blk-pci', disk.model),
      ...virtioOptions(disk.driver),
      iothread: disk.driver?.iothread === undefined ? undefined : `iothread${disk.driver.iothread}`,
      ioeventfd: disk.driver?.ioeventfd,
      event_idx: disk.driver?.event_idx,
      'num-queues': disk.driver?.queues,
      'queue-size': disk.driver?.queue_size,
      ...geometryOf(disk),
      ...pciPlace(disk, all),
    };
  }
  if (bus === 'usb')
    return { driver: 'usb-storage', removable: disk.target.removable ?? false, ...usbPlace(disk, all) };
  if (bus === 'fdc') return { driver: 'floppy', unit: driveOf(disk).unit };
  if (bus === 'scsi') {
    const names = { vendor: disk.vendor, product: disk.product, wwn };
    return { driver: `scsi-${media}`, ...scsiPlace(disk, domain), ...spinning, ...names };
  }
  return { driver: `ide-${media}`, ...idePlace(disk, domain), ...spinning, wwn };
}

const geometryOf = ({ geometry }: Disk): JsonObject =>
  geometry === undefined
    ? {}
    : { cyls: geometry.cyls, heads: geometry.heads, secs: geometry.secs, 'bios-chs-trans': geometry.trans };

function driveOf(disk: Disk): { controller: number; bus: number; target: number; unit: number } {
  const { address } = disk;
  return required(address?.type === 'drive' ? address : undefined, 'drive address');
}

function scsiPlace(disk: Disk, { devices }: Domain): JsonObject {
  const { controller, bus, target, unit } = driveOf(disk);
  const on = required(
    devices.controller.find((c) => c.type === 'scsi' && c.index === controller),
    `SCSI controller ${controller}`,
  );
  const isVirtio = on.type === 'scsi' && (on.model === 'virtio-scsi' || on.model?.startsWith('virtio-') === true);
  // Older controllers have one LUN a target, and libvirt counts their units as targets.
  const where =
    isVirtio || (on.type === 'scsi' && on.model !== 'lsilogic')
      ? { 'scsi-id': target, lun: unit, channel: bus }
      : { 'scsi-id': unit };
  return { bus: `${idOf(on)}.0`, ...where };
}

function idePlace(disk: Disk, { devices, machine }: Domain): JsonObject {
  const { controller, bus, unit } = driveOf(disk);
  const type = disk.target.bus === 'sata' ? 'sata' : 'ide';
  const on = devices.controller.find((c) => c.type === type && c.index === controller);
  const isBuiltIn = controller === 0 && (type === 'sata') === isQ35(machine);
  // What the chipset has built in is called ide, whatever its alias.
  const name = isBuiltIn ? 'ide' : idOf(required(on, `${type} controller ${controller}`));
  return type === 'sata' ? { bus: `${name}.${unit}` } : { bus: `${name}.${bus}`, unit };
}

function errorPolicy(policy: string | undefined, read = false): string | undefined {
  if (policy === 'enospace') return read ? 'report' : 'enospc';
  return policy;
}

interface Cache {
  readonly node: { readonly direct: boolean; readonly 'no-flush': boolean };
  readonly writeBack: boolean;
}

/** qemuDomainDiskCachemodeFlags: what libvirt's cache modes mean to QEMU. */
const caches: Readonly<Record<NonNullable<NonNullable<Disk['driver']>['cache']>, Cache | undefined>> = {
  default: undefined,
  none: { node: { direct: true, 'no-flush': false }, writeBack: true },
  writethrough: { node: { direct: false, 'no-flush': false }, writeBack: false },
  writeback: { node: { direct: false, 'no-flush': false }, writeBack: true },
  directsync: { node: { direct: true, 'no-flush': false }, writeBack: false },
  unsafe: { node: { direct: false, 'no-flush': true }, writeBack: true },
};
