import type { Domain } from '../domain.ts';
import type { Disk } from '../vocabulary/disk.ts';
import type { NetworkInterface } from '../vocabulary/interface.ts';

/** The device's place in the boot order: its own, or that of the first device of the kind that `<os>` names. */
export function bootIndex(device: Disk | NetworkInterface, { document: { os, devices } }: Domain): number | undefined {
  if (device.boot !== undefined) return device.boot.order;
  const first = (kind: Disk['device']) => devices.disk.find((disk) => disk.device === kind);
  const order = os.boot.findIndex(({ dev }) => {
    if (dev === 'hd') return device === first('disk');
    if (dev === 'cdrom') return device === first('cdrom');
    if (dev === 'fd') return device === first('floppy');
    return device === devices.interface[0];
  });
  return order < 0 ? undefined : order + 1;
}
