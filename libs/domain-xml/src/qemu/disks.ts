import type { Domain } from '../domain.ts';
import { isQ35 } from '../machines.ts';
import type { Disk } from '../vocabulary/disk.ts';
import { bootIndex } from './boot-order.ts';
import { json, type Json, pciPlace, required } from './json.ts';

/** A disk: its file, its format on top of that, and the device. QEMU's own image locks stay as they are. */
export function diskArguments(disk: Disk, domain: Domain): string[] {
  const id = required(disk.alias, 'disk alias').name;
  const readOnly = disk.readonly !== undefined;
  const cache = caches[disk.driver?.cache ?? 'default'];
  const common = {
    'read-only': readOnly,
    ...(cache === undefined ? {} : { cache: cache.node }),
    ...(disk.driver?.discard === undefined ? {} : { discard: disk.driver.discard }),
  };
  const storage = {
    driver: 'file',
    filename: disk.source.file,
    ...(disk.driver?.io === undefined ? {} : { aio: disk.driver.io }),
    'node-name': `${id}-storage`,
    // The format node decides: QEMU may open the file read-only below it.
    'auto-read-only': true,
    ...common,
  };
  const format = { driver: disk.driver?.type ?? 'raw', 'node-name': `${id}-format`, ...common, file: `${id}-storage` };
  const bootindex = bootIndex(disk, domain);
  const device: Record<string, Json> = {
    ...deviceOf(disk, domain),
    drive: `${id}-format`,
    id,
    ...(disk.shareable === undefined ? {} : { 'share-rw': true }),
    ...(bootindex === undefined ? {} : { bootindex }),
    ...(cache === undefined ? {} : { 'write-cache': cache.writeBack ? 'on' : 'off' }),
    ...(disk.serial === undefined ? {} : { serial: disk.serial }),
  };
  return ['-blockdev', json(storage), '-blockdev', json(format), '-device', json(device)];
}

function deviceOf(disk: Disk, domain: Domain): Record<string, Json> {
  if (disk.address?.type !== 'drive') {
    return { driver: 'virtio-blk-pci', ...pciPlace(disk.address, domain.devices.controller) };
  }
  const { controller, unit } = disk.address;
  const on = domain.devices.controller.find((c) => c.type === 'sata' && c.index === controller);
  // The built-in controller of a q35 machine is called ide, whatever its alias.
  const bus =
    controller === 0 && isQ35(domain.machine) ? 'ide' : required(on?.alias, `SATA controller ${controller}`).name;
  return { driver: 'ide-hd', bus: `${bus}.${unit}` };
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
