import type { Report } from '../codec/element-codec.ts';
import { completeDisk } from '../complete/disks.ts';
import type { DriveAddress } from '../vocabulary/address.ts';
import type { Controller } from '../vocabulary/controller.ts';
import type { Disk } from '../vocabulary/disk.ts';

type Ends = Readonly<Record<'bus' | 'target' | 'unit', number>>;
type ScsiModel = NonNullable<Extract<Controller, { type: 'scsi' }>['model']>;

/** The last bus, target and unit of what drives are plugged into, as QEMU's devices count them. */
const ends: Readonly<Record<'ide' | 'sata' | 'fdc', Ends>> = {
  ide: { bus: 1, target: 0, unit: 1 },
  sata: { bus: 0, target: 0, unit: 5 },
  fdc: { bus: 0, target: 0, unit: 1 },
};
const lsilogic: Ends = { bus: 0, target: 0, unit: 7 };
const esp: Ends = { bus: 0, target: 7, unit: 7 };
const virtio: Ends = { bus: 0, target: 255, unit: 16383 };
const scsiEnds: Readonly<Record<ScsiModel, Ends>> = {
  auto: lsilogic,
  lsilogic,
  lsisas1068: { bus: 0, target: 7, unit: 1 },
  lsisas1078: { bus: 0, target: 127, unit: 255 },
  vmpvscsi: { bus: 0, target: 63, unit: 0 },
  am53c974: esp,
  dc390: esp,
  'virtio-scsi': virtio,
  'virtio-transitional': virtio,
  'virtio-non-transitional': virtio,
};

/** A drive is in a place that its controller has, whether that is given or follows from its name. */
export function checkDrivePlace(disk: Disk, controllers: readonly Controller[], report: Report): void {
  const { address, target } = completeDisk(disk);
  if (address?.type !== 'drive' || (disk.address !== undefined && disk.address.type !== 'drive')) return;
  const [name, last] = endsOf(target.bus, address, controllers);
  if (last === undefined) return;
  for (const key of ['bus', 'target', 'unit'] as const) {
    if (address[key] <= last[key]) continue;
    const at = disk.address === undefined ? '/target/@dev' : `/address/@${key}`;
    const hint = last[key] === 0 ? 'There is 0 alone' : `There are 0 to ${last[key]}`;
    report('xml-unsupported', at, `${name} has no ${key} ${address[key]}`, hint);
  }
}

function endsOf(
  bus: Disk['target']['bus'],
  { controller }: DriveAddress,
  controllers: readonly Controller[],
): [name: string, last: Ends | undefined] {
  if (bus === 'ide' || bus === 'sata' || bus === 'fdc') return [bus, ends[bus]];
  const all = controllers.filter((c) => c.type === 'scsi');
  const of = all.find((c) => c.index === controller);
  // What has no index yet may become this one: that is looked at again when it has.
  if (of === undefined && all.some((c) => c.index === undefined)) return ['', undefined];
  const model = of?.model ?? 'lsilogic';
  return [model, scsiEnds[model]];
}
