import type { Domain } from '../domain.ts';
import { controllerArguments } from './controllers.ts';
import { chardevArguments } from './chardevs.ts';
import { diskArguments } from './disks.ts';
import { interfaceArguments } from './interfaces.ts';
import { machineArguments } from './machine.ts';
import { json, pciPlace, required } from './json.ts';

/**
 * QEMU's arguments for a completed domain: all that its document asks for. What belongs to the process (-S, -nodefaults,
 * -sandbox, monitors, -incoming) is the launcher's. Values stand in JSON, in an argument of their own, or are words without commas.
 */
export function qemuArguments(domain: Domain): string[] {
  const { devices } = domain;
  return [
    ...machineArguments(domain),
    ...devices.controller.flatMap((controller) => controllerArguments(controller, domain)),
    ...devices.disk.flatMap((disk) => diskArguments(disk, domain)),
    ...devices.interface.flatMap((card) => interfaceArguments(card, domain)),
    ...devices.serial.flatMap((port) => chardevArguments(port)),
    ...balloonArguments(domain),
  ];
}

function balloonArguments({ devices: { memballoon, controller } }: Domain): string[] {
  if (memballoon === undefined || memballoon.model === 'none') return [];
  const id = required(memballoon.alias, 'balloon alias').name;
  return ['-device', json({ driver: 'virtio-balloon-pci', id, ...pciPlace(memballoon.address, controller) })];
}
