import type { PciAddress } from '../vocabulary/address.ts';
import type { Controller, PciController } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { invalid } from './pci-buses.ts';

type ModelName = NonNullable<PciController['modelName']>['name'];
const modelNames: Readonly<Partial<Record<PciController['model'], ModelName>>> = {
  'pci-bridge': 'pci-bridge',
  'pcie-root-port': 'pcie-root-port',
  'pcie-to-pci-bridge': 'pcie-pci-bridge',
  'dmi-to-pci-bridge': 'i82801b11-bridge',
  'pcie-switch-upstream-port': 'x3130-upstream',
  'pcie-switch-downstream-port': 'xio3130-downstream',
  'pci-expander-bus': 'pxb',
  'pcie-expander-bus': 'pxb-pcie',
};

/** QEMU's device, chassis, port and bus numbers, and the marks of slots that hold several functions. */
export function completePciControllers(devices: Devices): Devices {
  const controller = devices.controller.map((c) => (c.type === 'pci' ? withTarget(c, devices.controller) : c));
  return markMultifunction({ ...devices, controller });
}

function withTarget(c: PciController, all: readonly Controller[]): PciController {
  const name = modelNames[c.model];
  if (name === undefined) return c;
  const modelName = c.modelName ?? { name };
  return { ...c, modelName, ...targetOf(c, all) };
}

function targetOf(c: PciController, all: readonly Controller[]): Pick<PciController, 'target'> {
  const index = c.index ?? 0;
  const { slot = 0, function: fn = 0 } = c.address ?? {};
  const { target } = c;
  if (c.model === 'pci-bridge') return { target: { ...target, chassisNr: target?.chassisNr ?? index } };
  if (c.model === 'pcie-root-port' || c.model === 'pcie-switch-downstream-port') {
    const port = c.model === 'pcie-root-port' ? slot * 8 + fn : slot;
    return { target: { ...target, chassis: target?.chassis ?? index, port: target?.port ?? port } };
  }
  if (c.model === 'pci-expander-bus' || c.model === 'pcie-expander-bus') {
    return { target: { ...target, busNr: target?.busNr ?? freeBusNumber(all) } };
  }
  return target === undefined ? {} : { target };
}

/** qemuDomainAddressFindNewBusNr: two below the lowest that is used. */
function freeBusNumber(all: readonly Controller[]): number {
  const lowest = Math.min(
    256,
    ...all.flatMap((c) => (c.type === 'pci' && c.target?.busNr !== undefined ? [c.target.busNr] : [])),
  );
  if (lowest <= 2) throw invalid(undefined, 'there is no bus number left for an expander bus', 'Give it a busNr');
  return lowest - 2;
}

interface WithAddress {
  readonly address?: { readonly type: string };
}
const isPci = (address: { readonly type: string } | undefined): address is PciAddress => address?.type === 'pci';

/** Function 0 of a slot says whether there are more (virDomainPCIAddressSetAllMulti). */
function markMultifunction(devices: Devices): Devices {
  const all = Object.values(devices).flatMap((part): readonly unknown[] => (Array.isArray(part) ? part : [part]));
  const slots = new Set<string>();
  for (const device of all) {
    const address = typeof device === 'object' && device !== null ? (device as WithAddress).address : undefined;
    if (isPci(address) && address.function !== 0) slots.add(`${address.bus}.${address.slot}`);
  }
  const mark = <D>(device: D): D => {
    if (typeof device !== 'object' || device === null) return device;
    const { address } = device as WithAddress;
    if (!isPci(address) || address.function !== 0 || address.multifunction !== undefined) return device;
    return slots.has(`${address.bus}.${address.slot}`)
      ? { ...device, address: { ...address, multifunction: true } }
      : device;
  };
  return Object.fromEntries(
    Object.entries(devices).map(([key, part]) => [key, Array.isArray(part) ? part.map(mark) : mark(part)]),
  ) as unknown as Devices;
}
