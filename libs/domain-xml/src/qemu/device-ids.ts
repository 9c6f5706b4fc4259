import type { Domain } from '../domain.ts';
import { qemuArguments } from './arguments.ts';

/** The devices that QEMU is told to make for a document. */
export interface DeviceIds {
  /** Children of /machine/peripheral. */
  readonly ids: ReadonlySet<string>;
  /** How many have no id: children of /machine/peripheral-anon. */
  readonly withoutId: number;
}

export function deviceIds(domain: Domain): DeviceIds {
  const args = qemuArguments(domain);
  const devices = args.filter((_value, at) => args[at - 1] === '-device').map(idOf);
  const ids = devices.filter((id) => id !== undefined);
  return { ids: new Set(ids), withoutId: devices.length - ids.length };
}

/** Of an argument in JSON, or one that a document adds by itself: `virtio-rng-pci,id=rng9`. */
function idOf(device: string): string | undefined {
  if (!device.startsWith('{')) return /,id=([^,]+)/.exec(device)?.[1];
  const parsed: unknown = JSON.parse(device);
  const id = typeof parsed === 'object' && parsed !== null && 'id' in parsed ? parsed.id : undefined;
  return typeof id === 'string' ? id : undefined;
}
