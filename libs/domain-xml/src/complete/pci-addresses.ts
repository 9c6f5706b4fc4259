import type { PciAddress } from '../vocabulary/address.ts';
import type { Controller, PciController } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { PciBuses } from './pci-buses.ts';

/**
 * Gives each PCI device an address, in libvirt's order (qemuDomainAssignDevicePCISlots): root ports, interfaces, controllers, disks,
 * balloon. Addresses that are there stay. A q35 guest whose document names no ports gets one spare port to plug into.
 */
export function assignPciAddresses(devices: Devices, q35: boolean): Devices {
  const buses = new PciBuses(devices.controller, q35);
  for (const address of givenAddresses(devices)) buses.reserve(address);
  const spare = q35 && !devices.controller.some((c) => c.type === 'pci' && (c.index ?? 0) > 0);

  const place = <D extends { readonly address?: PciAddress }>(device: D): D =>
    device.address === undefined ? { ...device, address: buses.next() } : device;
  const cards = devices.interface.map(place);
  const others = devices.controller.map((c): Controller => {
    if (c.type !== 'sata' || c.address !== undefined) return c;
    return q35 && c.index === 0 ? { ...c, address: pci(0, 0x1f, 2) } : place(c);
  });
  const disks = devices.disk.map((disk) =>
    disk.target.bus === 'virtio' && disk.address === undefined ? { ...disk, address: buses.next() } : disk,
  );
  const { memballoon } = devices;
  const balloon = memballoon?.model === 'virtio' ? place(memballoon) : memballoon;
  if (spare && buses.grew) buses.keepOneFree();
  return {
    ...devices,
    disk: disks,
    controller: [...others.filter((c) => c.type !== 'pci'), ...buses.controllers()],
    interface: cards,
    ...(balloon === undefined ? {} : { memballoon: balloon }),
  };
}

function givenAddresses(devices: Devices): PciAddress[] {
  const all: readonly { readonly address?: { readonly type: string } }[] = [
    ...devices.disk,
    ...devices.controller,
    ...devices.interface,
    ...(devices.memballoon === undefined ? [] : [devices.memballoon]),
  ];
  return all.flatMap((device) => (isPci(device.address) ? [device.address] : []));
}

const isPci = (address: { readonly type: string } | undefined): address is PciAddress => address?.type === 'pci';

/** A PCI address on domain 0. */
export const pci = (bus: number, slot: number, fn: number): PciAddress => ({
  type: 'pci',
  domain: 0,
  bus,
  slot,
  function: fn,
});

export type { PciController };
