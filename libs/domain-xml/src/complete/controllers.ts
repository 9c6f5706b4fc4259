import { virtioSerialOf } from '../vocabulary/address.ts';
import type { Controller } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { Disk } from '../vocabulary/disk.ts';
import { inOrder } from './pci-addresses.ts';

/** The controllers that the machine has by itself, and those that other devices need but nobody asked for. */
export function completeControllers(devices: Devices, q35: boolean): readonly Controller[] {
  const found = [...numbered(devices.controller)];
  const keyOf = ({ type, index = 0 }: Pick<Controller, 'type' | 'index'>): string => `${type} ${index}`;
  const there = new Set(found.map(keyOf));
  const add = (controller: Controller) => {
    if (there.has(keyOf(controller))) return;
    there.add(keyOf(controller));
    found.push(controller);
  };
  if (!found.some((c) => c.type === 'usb')) add({ type: 'usb', index: 0, model: q35 ? 'qemu-xhci' : 'piix3-uhci' });
  if (q35) add({ type: 'sata', index: 0 });
  add({ type: 'pci', index: 0, model: q35 ? 'pcie-root' : 'pci-root' });
  for (const type of ['scsi', 'fdc', 'ide', 'sata'] as const) {
    // All up to the highest, as libvirt does: an index says how many there are before it.
    const highest = Math.max(-1, ...devices.disk.map((disk) => controllerOf(disk, type)));
    for (let index = 0; index <= highest; index += 1) add({ type, index });
  }
  const ports = [
    ...devices.channel.filter((one) => one.target.type === 'virtio'),
    ...devices.console.filter((c) => c.target?.type === 'virtio'),
  ];
  // Of these only the ones that are named.
  for (const port of ports) add({ type: 'virtio-serial', index: virtioSerialOf(port)?.controller ?? 0 });
  for (const card of devices.smartcard) add({ type: 'ccid', index: card.address?.controller ?? 0 });
  return inOrder(found).map(withModel);
}

const controllerOf = (disk: Disk, bus: string): number =>
  disk.target.bus === bus && disk.address?.type === 'drive' ? disk.address.controller : -1;

/**
 * Controllers without an index get the lowest free one of their type; a member of a USB 2 family that follows another joins it, unless
 * it has one of the kind (virDomainAssignControllerIndexes).
 */
function numbered(given: readonly Controller[]): readonly Controller[] {
  const done = [...given];
  const used = new Map<string, Set<number>>();
  const usedOf = (type: string): Set<number> => {
    const known = used.get(type) ?? new Set();
    used.set(type, known);
    return known;
  };
  for (const { type, index } of given) if (index !== undefined) usedOf(type).add(index);
  given.forEach((c, i) => {
    if (c.index !== undefined) return;
    const isRoot = c.type === 'pci' && (c.model === 'pci-root' || c.model === 'pcie-root');
    let index = c.type === 'pci' && !isRoot ? 1 : 0;
    while (usedOf(c.type).has(index)) index += 1;
    const own = familyOf(c, done.slice(0, i), done) ?? index;
    usedOf(c.type).add(own);
    done[i] = { ...c, index: own };
  });
  return done;
}

const isUsb2 = (c: Controller | undefined): boolean => c?.type === 'usb' && c.model?.startsWith('ich9-') === true;

function familyOf(c: Controller, before: readonly Controller[], all: readonly Controller[]): number | undefined {
  const previous = before.findLast((one) => one.type === 'usb');
  if (!isUsb2(c) || !isUsb2(previous)) return undefined;
  const isSame = (one: Controller) => one.type === 'usb' && c.type === 'usb' && one.model === c.model;
  const taken = all.some((one) => one.index === previous?.index && isSame(one));
  return taken ? undefined : previous?.index;
}

/** The ports of a USB 2 controller that its companions serve. */
const startPorts = { 'ich9-uhci1': 0, 'ich9-uhci2': 2, 'ich9-uhci3': 4 } as const;

/** What libvirt takes for a model on x86 when none is given (qemuDomainControllerDefPostParse). */
function withModel(c: Controller): Controller {
  if (c.type === 'usb' && c.model === 'none' && c.address !== undefined) {
    // It is nowhere: its slot is another's (qemuDomainControllerDefPostParse).
    const { address: _freed, ...nowhere } = c;
    return nowhere;
  }
  if (c.type === 'usb' && c.model === undefined) return { ...c, model: 'piix3-uhci' };
  if (c.type === 'usb' && c.master === undefined && c.model !== undefined && c.model in startPorts) {
    return { ...c, master: { startport: startPorts[c.model as keyof typeof startPorts] } };
  }
  if (c.type === 'scsi' && (c.model === undefined || c.model === 'auto')) return { ...c, model: 'lsilogic' };
  return c;
}
