import type { Console, Serial } from '../vocabulary/chardev.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { invalid } from './pci-buses.ts';

type Target = NonNullable<Serial['target']>;
const modelOf: Readonly<Record<NonNullable<Target['type']>, NonNullable<Target['model']>['name']>> = {
  'isa-serial': 'isa-serial',
  'usb-serial': 'usb-serial',
  'pci-serial': 'pci-serial',
  'isa-debug': 'isa-debugcon',
};

/** Numbers ports and consoles; the first console is another name for the first serial port (virDomainDefAddConsoleCompat). */
export function completeConsoles(devices: Devices): Pick<Devices, 'serial' | 'parallel' | 'console' | 'channel'> {
  const [first, ...others] = devices.console;
  const firstIsSerial = first !== undefined && (first.target?.type ?? 'serial') === 'serial';
  const moved: readonly Serial[] = devices.serial.length === 0 && firstIsSerial ? [serialOf(first)] : devices.serial;
  const serial = numbered(moved.map(withTarget), 255);
  const head = serial[0];
  const hasPort = head !== undefined && (firstIsSerial || head.target?.type === 'isa-serial');
  const consoles = hasPort ? [consoleOf(head), ...(firstIsSerial ? others : devices.console)] : devices.console;
  return {
    serial,
    parallel: numbered(devices.parallel, 2),
    console: consoles.map((one, i) => ({
      ...one,
      target: { type: one.target?.type ?? 'serial', port: i },
    })),
    channel: devices.channel,
  };
}

function serialOf(console: Console): Serial {
  const { target: _target, address, ...backend } = console;
  return address === undefined || address.type === 'virtio-serial' ? backend : { ...backend, address };
}

function consoleOf(serial: Serial): Console {
  const { address: _address, ...backend } = serial;
  return { ...backend, target: { type: 'serial', port: 0 } };
}

function withTarget(port: Serial): Serial {
  const type =
    port.target?.type ??
    (port.address?.type === 'pci' ? 'pci-serial' : port.address?.type === 'usb' ? 'usb-serial' : 'isa-serial');
  return { ...port, target: { ...port.target, type, model: port.target?.model ?? { name: modelOf[type] } } };
}

const lowestFree = (ports: readonly { readonly target?: { readonly port?: number } }[]): number => {
  let port = 0;
  while (ports.some((one) => one.target?.port === port)) port += 1;
  return port;
};

/** Ports without a number get the one after the highest so far. */
function numbered<D extends { readonly target?: { readonly port?: number } }>(
  ports: readonly D[],
  portMax: number,
): readonly D[] {
  let next = Math.max(-1, ...ports.map((one) => one.target?.port ?? -1)) + 1;
  const done = [...ports];
  return ports.map((one, i) => {
    if (one.target?.port !== undefined) return one;
    const port = next > portMax ? lowestFree(done) : next;
    next += 1;
    if (port > portMax) throw invalid(one, `there are more than ${portMax + 1} ports of a kind`, 'Remove one');
    const placed = { ...one, target: { ...one.target, port } };
    done[i] = placed;
    return placed;
  });
}
