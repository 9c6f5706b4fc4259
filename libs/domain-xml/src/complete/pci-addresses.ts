import type { PciAddress } from '../vocabulary/address.ts';
import type { Controller, PciController, UsbController } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { type Connection, invalid, PciBuses, type PciModel, type Place } from './pci-buses.ts';
import { Connections } from './pci-connections.ts';
import { reserveChipset } from './pci-chipset.ts';
import { completePciControllers } from './pci-controllers.ts';

/** What a bus number can be. */
const busesMax = 256;

/**
 * Gives each PCI device an address, as libvirt does for the same document (qemuDomainAssignPCIAddresses): a first pass finds out which
 * bridges and ports are missing, the second places everything. Addresses that are there stay.
 * Throws DomainXmlError if they contradict each other or do not suffice.
 */
export function assignPciAddresses(devices: Devices, q35: boolean): Devices {
  const given = devices.controller.filter((c) => c.type === 'pci');
  if (given.length > busesMax)
    throw invalid(
      given[busesMax],
      `there are more than ${busesMax} PCI controllers`,
      'Remove some: a machine has no more buses',
    );
  const indexMax = Math.max(...given.map((c) => c.index ?? 0));
  const needed = new PciBuses(modelsOf(given, indexMax, q35), true);
  placeAll(devices, needed, q35);
  // Only a document that leaves ports to us gets one to spare, once: completing it again finds the ports there.
  if (q35 && indexMax <= 0 && needed.models.length > 1) needed.next('pcie-device');
  const added = needed.models.flatMap((model, index): PciController[] =>
    given.some((c) => c.index === index) ? [] : [{ type: 'pci', index, model }],
  );
  const grown = { ...devices, controller: inOrder([...devices.controller, ...added]) };
  return completePciControllers(placeAll(grown, new PciBuses(needed.models, false), q35));
}

function modelsOf(given: readonly PciController[], indexMax: number, q35: boolean): PciModel[] {
  return Array.from(
    { length: indexMax + 1 },
    (_, index) => given.find((c) => c.index === index)?.model ?? (q35 ? 'pcie-root-port' : 'pci-bridge'),
  );
}

/** A companion of a USB 2 controller stands after it. */
const isCompanion = (c: Controller): boolean =>
  c.type === 'usb' && (c.master !== undefined || c.model?.startsWith('ich9-uhci') === true);

/** Controllers of one type stay together, by index (virDomainControllerInsertPreAlloced). */
export function inOrder(controllers: readonly Controller[]): readonly Controller[] {
  const types = [...new Set(controllers.map((c) => c.type))];
  return types.flatMap((type) =>
    controllers
      .filter((c) => c.type === type)
      .toSorted((a, b) => (a.index ?? 0) - (b.index ?? 0) || Number(isCompanion(a)) - Number(isCompanion(b))),
  );
}

interface Addressed {
  readonly address?: { readonly type: string };
}
const isPci = (address: { readonly type: string } | undefined): address is PciAddress => address?.type === 'pci';

function placeAll(devices: Devices, buses: PciBuses, q35: boolean): Devices {
  const connect = new Connections(q35);
  const reserve = (device: Addressed | undefined, connection: Connection | undefined) => {
    if (isPci(device?.address)) buses.reserve(device.address, connection ?? 'pci-device');
  };
  // What the document places comes first, so that nothing is put in its way.
  for (const c of devices.controller) if (!isOfPiix3(c, q35)) reserve(c, connect.controller(c));
  for (const one of devices.disk) reserve(one, connect.disk(one));
  for (const one of devices.filesystem) reserve(one, connect.filesystem(one));
  for (const one of devices.interface) reserve(one, connect.interface(one));
  for (const one of devices.sound) reserve(one, connect.sound(one));
  for (const one of devices.video) reserve(one, connect.video(one));
  for (const one of devices.input) reserve(one, connect.input(one));
  for (const one of devices.rng) reserve(one, connect.virtio(one.model));
  for (const one of devices.watchdog) reserve(one, connect.watchdog(one));
  for (const one of devices.serial) reserve(one, connect.serial(one));
  for (const one of devices.shmem) reserve(one, 'pci-device');
  for (const one of devices.panic) reserve(one, connect.panic(one));
  for (const one of devices.crypto) reserve(one, 'pci-device');
  reserve(devices.memballoon, connect.virtio(devices.memballoon?.model));
  reserve(devices.iommu, devices.iommu && connect.iommu(devices.iommu));
  reserve(devices.vsock, connect.virtio(devices.vsock?.model));

  const withChipset = reserveChipset(devices, buses, q35);
  // A pc keeps a slot for a bridge to come; libvirt's first pass counts it, the second does not.
  if (!q35 && buses.mayGrow && !buses.isFull) buses.next('pci-device');

  const place = <D extends { readonly address?: PciAddress }>(device: D, connection: Connection | undefined): D =>
    connection === undefined || device.address !== undefined
      ? device
      : { ...device, address: full(buses.next(connection, device)) };
  const placeAny = <D extends Addressed>(device: D, connection: Connection | undefined): D =>
    connection === undefined || device.address !== undefined
      ? device
      : { ...device, address: full(buses.next(connection, device)) };

  const bridges = withChipset.controller.map((c) => (c.type === 'pci' ? place(c, connect.controller(c)) : c));
  const filesystem = withChipset.filesystem.map((one) => place(one, connect.filesystem(one)));
  const cards = withChipset.interface.map((one) => place(one, connect.interface(one)));
  const sound = withChipset.sound.map((one) => placeAny(one, connect.sound(one)));
  const controller: Controller[] = [];
  for (const c of bridges) controller.push(placeController(c, controller, bridges, buses, connect));
  const disk = withChipset.disk.map((one) => placeAny(one, connect.disk(one)));
  const { memballoon, iommu, vsock } = withChipset;
  const balloon =
    memballoon && place(memballoon, memballoon.model === 'none' ? undefined : connect.virtio(memballoon.model));
  const rng = withChipset.rng.map((one) => place(one, connect.virtio(one.model)));
  const watchdog = withChipset.watchdog.map((one) => place(one, connect.watchdog(one)));
  const video = withChipset.video.map((one) => place(one, connect.video(one)));
  const shmem = withChipset.shmem.map((one) => place(one, 'pci-device'));
  const input = withChipset.input.map((one) => placeAny(one, connect.input(one)));
  const serial = withChipset.serial.map((one) => placeAny(one, connect.serial(one)));
  const remapper = iommu && place(iommu, connect.iommu(iommu));
  const socket = vsock && place(vsock, connect.virtio(vsock.model));
  const crypto = withChipset.crypto.map((one) => place(one, 'pci-device'));
  const panic = withChipset.panic.map((one) => placeAny(one, connect.panic(one)));
  return {
    ...withChipset,
    filesystem,
    interface: cards,
    sound,
    controller,
    disk,
    rng,
    watchdog,
    video,
    shmem,
    input,
    serial,
    crypto,
    panic,
    ...(balloon === undefined ? {} : { memballoon: balloon }),
    ...(remapper === undefined ? {} : { iommu: remapper }),
    ...(socket === undefined ? {} : { vsock: socket }),
  };
}

const full = ({ bus, slot, function: fn }: Place): PciAddress => ({
  type: 'pci',
  domain: 0,
  bus,
  slot,
  function: fn,
});

/** The IDE and USB controllers that are part of a pc's chipset. */
const isOfPiix3 = (c: Controller, q35: boolean): boolean =>
  !q35 &&
  c.index === 0 &&
  (c.type === 'ide' || (c.type === 'usb' && (c.model === 'piix3-uhci' || c.model === undefined)));

const companionFunction: Readonly<Partial<Record<NonNullable<UsbController['model']>, number>>> = {
  'ich9-ehci1': 7,
  'ich9-uhci1': 0,
  'ich9-uhci2': 1,
  'ich9-uhci3': 2,
};

/** A USB 2 controller and its companions share a slot. */
function placeController(
  c: Controller,
  done: readonly Controller[],
  all: readonly Controller[],
  buses: PciBuses,
  connect: Connections,
): Controller {
  const connection = connect.controller(c);
  if (c.type === 'pci' || c.type === 'ccid' || connection === undefined || c.address !== undefined) return c;
  const fn = c.type === 'usb' && c.model !== undefined ? companionFunction[c.model] : undefined;
  if (fn === undefined || c.type !== 'usb') return { ...c, address: full(buses.next(connection, c)) };
  const isMate = (other: Controller) =>
    other.type === 'usb' && other.index === c.index && other.model !== undefined && other.model in companionFunction;
  const mate = [...done, ...all].find((other) => isMate(other) && other.address !== undefined);
  const multifunction = fn === 0 ? { multifunction: true } : {};
  if (mate?.address?.type !== 'pci') {
    return { ...c, address: { ...full(buses.next(connection, c, fn)), ...multifunction } };
  }
  const address = { ...full({ ...mate.address, function: fn }), ...multifunction };
  buses.reserve(address, connection);
  return { ...c, address };
}
