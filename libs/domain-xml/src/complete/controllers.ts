import type { Controller } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { Disk } from '../vocabulary/disk.ts';
import { inOrder } from './pci-addresses.ts';

/** The controllers that the machine has by itself, and those that other devices need but nobody asked for. */
export function completeControllers(devices: Devices, q35: boolean): readonly Controller[] {
  const found = [...numbered(devices.controller)];
  const has = (type: Controller['type'], index: number) => found.some((c) => c.type === type && c.index === index);
  const add = (controller: Controller) => {
    if (!has(controller.type, controller.index ?? 0)) found.push(controller);
  };
  if (!found.some((c) => c.type === 'usb')) add({ type: 'usb', index: 0, model: q35 ? 'qemu-xhci' : 'piix3-uhci' });
  if (q35) add({ type: 'sata', index: 0 });
  add({ type: 'pci', index: 0, model: q35 ? 'pcie-root' : 'pci-root' });
  for (const type of ['scsi', 'fdc', 'ide', 'sata'] as const) {
    // All up to the highest, as libvirt does: an index says how many there are before it.
    const highest = Math.max(-1, ...devices.disk.map((disk) => controllerOf(disk, type)));
    for (let index = 0; index <= highest; index += 1) add({ type, index });
  }
  const ports = [...devices.channel, ...devices.console.filter((c) => c.target?.type === 'virtio')];
  const serials = ports.map((port) => port.address?.controller ?? 0);
  const highest = Math.max(-1, ...serials);
  for (let index = 0; index <= highest; index += 1) add({ type: 'virtio-serial', index });
  const readers = Math.max(-1, ...devices.smartcard.map((card) => card.address?.controller ?? 0));
  for (let index = 0; index <= readers; index += 1) add({ type: 'ccid', index });
  return inOrder(found).map(withModel);
}

const controllerOf = (disk: Disk, bus: string): number =>
  disk.target.bus === bus && disk.address?.type === 'drive' ? disk.address.controller : -1;

/** Controllers without an index get the lowest free one of their type; USB companions share their master's. */
function numbered(given: readonly Controller[]): readonly Controller[] {
  const taken = new Set(given.map((c) => `${c.type} ${c.index}`));
  return given.map((c) => {
    if (c.index !== undefined) return c;
    let index = 0;
    while (taken.has(`${c.type} ${index}`)) index += 1;
    taken.add(`${c.type} ${index}`);
    return { ...c, index };
  });
}

/** The ports of a USB 2 controller that its companions serve. */
const startPorts = { 'ich9-uhci1': 0, 'ich9-uhci2': 2, 'ich9-uhci3': 4 } as const;

/** What libvirt takes for a model on x86 when none is given (qemuDomainControllerDefPostParse). */
function withModel(c: Controller): Controller {
  if (c.type === 'usb' && c.model === undefined) return { ...c, model: 'piix3-uhci' };
  if (c.type === 'usb' && c.master === undefined && c.model !== undefined && c.model in startPorts) {
    return { ...c, master: { startport: startPorts[c.model as keyof typeof startPorts] } };
  }
  if (c.type === 'scsi' && (c.model === undefined || c.model === 'auto')) return { ...c, model: 'lsilogic' };
  return c;
}
