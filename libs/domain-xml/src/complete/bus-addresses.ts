import { type UsbAddress, virtioSerialOf } from '../vocabulary/address.ts';
import type { Controller, UsbController } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { invalid } from './pci-buses.ts';

/** Ports of virtio-serial controllers; a console may have port 0, which guests take for hvc0 (qemuDomainAssignVirtioSerialAddresses). */
export function assignVirtioSerialPorts(devices: Devices): Devices {
  const taken = new Map<number, Set<number>>();
  for (const c of devices.controller) if (c.type === 'virtio-serial') taken.set(c.index ?? 0, new Set());
  const portsOf = (index: number) => {
    const c = devices.controller.find((one) => one.type === 'virtio-serial' && one.index === index);
    return (c?.type === 'virtio-serial' ? c.ports : undefined) ?? 31;
  };
  const take = (controller: number, port: number, address?: object) => {
    const ports = taken.get(controller) ?? new Set();
    if (ports.has(port)) {
      throw invalid(
        address,
        `port ${port} of virtio-serial controller ${controller} is used twice`,
        'Give each its own',
      );
    }
    if (port >= portsOf(controller)) {
      throw invalid(
        address,
        `virtio-serial controller ${controller} has no port ${port}`,
        `It has 0 to ${portsOf(controller) - 1}`,
      );
    }
    taken.set(controller, ports.add(port));
  };
  const isOnVirtio = (one: Devices['channel'][number]) => one.target.type === 'virtio';
  const isVirtio = (one: Devices['console'][number]) => one.target?.type === 'virtio';
  for (const one of [...devices.console.filter(isVirtio), ...devices.channel.filter(isOnVirtio)]) {
    const address = virtioSerialOf(one);
    if (address?.port === undefined) continue;
    // A channel cannot have port 0; one that says so gets another.
    if (address.port > 0 || devices.console.some((c) => c.address === address))
      take(address.controller, address.port, address);
  }
  const added: Controller[] = [];
  const free = (from: number, only?: number): { controller: number; port: number } => {
    const candidates = only === undefined ? [...taken.keys()].toSorted((a, b) => a - b) : [only];
    for (const controller of candidates) {
      for (let port = from; port < portsOf(controller); port += 1) {
        if (!(taken.get(controller)?.has(port) ?? false)) return { controller, port };
      }
    }
    const index = Math.max(-1, ...taken.keys()) + 1;
    taken.set(index, new Set());
    added.push({ type: 'virtio-serial', index });
    return { controller: index, port: from };
  };
  const place = <D extends Devices['console'][number] | Devices['channel'][number]>(one: D, from: number): D => {
    const address = virtioSerialOf(one);
    if (address?.port !== undefined && (address.port > 0 || from === 0)) return one;
    const found = free(from, address?.controller);
    take(found.controller, found.port);
    return { ...one, address: { type: 'virtio-serial', ...found, bus: 0 } };
  };
  const console = devices.console.map((one) => (isVirtio(one) ? place(one, 0) : one));
  const channel = devices.channel.map((one) => (isOnVirtio(one) ? place(one, 1) : one));
  return { ...devices, console, channel, controller: [...devices.controller, ...added] };
}

/** virDomainUSBAddressControllerModelToPorts; companions have none of their own. */
const usbPorts: Readonly<Partial<Record<NonNullable<UsbController['model']>, number>>> = {
  'piix3-uhci': 2,
  'piix4-uhci': 2,
  'vt82c686b-uhci': 2,
  ehci: 6,
  'ich9-ehci1': 6,
  'pci-ohci': 3,
  'nec-xhci': 4,
  'qemu-xhci': 4,
};
const portsOfUsb = ({ model, ports }: UsbController): number => {
  const usual = model === undefined ? 0 : (usbPorts[model] ?? 0);
  return model?.endsWith('xhci') === true ? (ports ?? usual) : usual;
};

/** Ports of USB controllers and hubs, in libvirt's order: hubs, disks, readers, inputs, serial ports, sound, redirected devices. */
export function assignUsbPorts(asGiven: Devices): Devices {
  const devices = withHubs(asGiven);
  const buses = new Map<number, UsbHub>();
  for (const c of devices.controller) {
    if (c.type !== 'usb' || portsOfUsb(c) === 0) continue;
    buses.set(c.index ?? 0, new UsbHub(portsOfUsb(c)));
  }
  type OnUsb = { readonly address?: { readonly type: string } };
  const given = (one: OnUsb): UsbAddress | undefined => (isUsb(one.address) ? one.address : undefined);
  const take = (address: UsbAddress, hub: boolean) => {
    const bus = buses.get(address.bus);
    if (bus === undefined) throw invalid(address, `there is no USB bus ${address.bus}`, 'Add its controller');
    if (address.port !== undefined) bus.take(address.port.split('.').map(Number), hub, address);
  };
  const onUsb: readonly OnUsb[] = [
    ...devices.disk,
    ...devices.controller,
    ...devices.input,
    ...devices.serial,
    ...devices.sound,
    ...devices.redirdev,
  ];
  for (const one of devices.hub.toSorted((a, b) => (a.address?.port ?? '').length - (b.address?.port ?? '').length)) {
    if (one.address?.port !== undefined) take(one.address, true);
  }
  for (const one of onUsb) {
    const address = given(one);
    if (address?.port !== undefined) take(address, false);
  }
  const place = <D extends OnUsb>(one: D, wanted = true, hub = false): D => {
    const address = given(one);
    if (!wanted || (address === undefined && one.address !== undefined) || address?.port !== undefined) return one;
    const candidates =
      address === undefined
        ? [...buses].toSorted(([a], [b]) => a - b)
        : [...buses].filter(([bus]) => bus === address.bus);
    for (const [bus, root] of candidates) {
      const path = root.free();
      if (path === undefined) continue;
      root.take(path, hub);
      return { ...one, address: { type: 'usb', bus, port: path.join('.') } };
    }
    throw invalid(address, 'there is no free USB port', 'Add a USB controller or a hub');
  };
  const hub = devices.hub.map((one) => place(one, true, true));
  const disk = devices.disk.map((one) => place(one, one.target.bus === 'usb'));
  const controller = devices.controller.map((one) => place(one, one.type === 'ccid'));
  const input = devices.input.map((one) => place(one, one.bus === 'usb'));
  const serial = devices.serial.map((one) => place(one, one.target?.type === 'usb-serial'));
  const sound = devices.sound.map((one) => place(one, one.model === 'usb'));
  const redirdev = devices.redirdev.map((one) => place(one));
  return { ...devices, hub, disk, controller, input, serial, sound, redirdev };
}

const hubPorts = 8;

/** More devices than ports get more hubs; where each goes is found out later (qemuDomainUSBAddressAddHubs). */
function withHubs(devices: Devices): Devices {
  const ports = devices.controller.reduce((sum, c) => sum + (c.type === 'usb' ? portsOfUsb(c) : 0), 0);
  const onUsb = [
    devices.hub,
    devices.disk.filter((one) => one.target.bus === 'usb'),
    devices.controller.filter((one) => one.type === 'ccid'),
    devices.input.filter((one) => one.bus === 'usb'),
    devices.serial.filter((one) => one.target?.type === 'usb-serial'),
    devices.sound.filter((one) => one.model === 'usb'),
    devices.redirdev,
  ].reduce((sum, some) => sum + some.length, 0);
  const lacking = onUsb - ports - hubPorts * devices.hub.length;
  if (ports === 0 || lacking <= 0) return devices;
  const more = Array.from({ length: Math.ceil((lacking + 1) / (hubPorts - 1)) }, () => ({ type: 'usb' as const }));
  return { ...devices, hub: [...devices.hub, ...more] };
}

const isUsb = (address: { readonly type: string } | undefined): address is UsbAddress => address?.type === 'usb';

/** The ports of a controller or a hub; a hub has eight. */
class UsbHub {
  readonly #ports: number;
  readonly #taken = new Map<number, UsbHub | 'device'>();
  /** Nothing is ever given back: what is full stays so, and is not looked through again. */
  #full = false;

  constructor(ports: number) {
    this.#ports = ports;
  }

  take([port, ...rest]: readonly number[], hub: boolean, address?: UsbAddress): void {
    if (port === undefined || port > this.#ports)
      throw invalid(address, `there is no USB port ${port}`, 'Leave it out');
    const there = this.#taken.get(port);
    if (rest.length === 0) {
      if (there !== undefined) throw invalid(address, `USB port ${port} is used twice`, 'Leave one out');
      this.#taken.set(port, hub ? new UsbHub(hubPorts) : 'device');
    } else if (there instanceof UsbHub) there.take(rest, hub, address);
    else throw invalid(address, `there is no hub at USB port ${port}`, 'Add it, or leave the port out');
  }

  /** The first free port, here or in a hub below. */
  free(): readonly number[] | undefined {
    if (this.#full) return undefined;
    for (let port = 1; port <= this.#ports; port += 1) if (!this.#taken.has(port)) return [port];
    for (let port = 1; port <= this.#ports; port += 1) {
      const below = this.#taken.get(port);
      const path = below instanceof UsbHub ? below.free() : undefined;
      if (path !== undefined) return [port, ...path];
    }
    this.#full = true;
    return undefined;
  }
}

/** Slots of memory modules, and card readers. */
export function assignSlots(devices: Devices): Devices {
  const used = new Set(devices.memory.flatMap((one) => (one.address === undefined ? [] : [one.address.slot])));
  const memory = devices.memory.map((one) => {
    if (one.address !== undefined) return one;
    let slot = 0;
    while (used.has(slot)) slot += 1;
    used.add(slot);
    return { ...one, address: { type: 'dimm' as const, slot } };
  });
  const smartcard = devices.smartcard.map((one, slot) =>
    one.address === undefined ? { ...one, address: { type: 'ccid' as const, controller: 0, slot } } : one,
  );
  return { ...devices, memory, smartcard };
}
