import type { Domain } from '../domain.ts';
import { isQ35 } from '../machines.ts';
import type { Controller } from '../vocabulary/controller.ts';
import { json, pciPlace, required } from './json.ts';

/** A controller; what the machine has built in needs no option. */
export function controllerArguments(controller: Controller, domain: Domain): string[] {
  if (controller.type === 'usb' || isBuiltIn(controller, domain)) return [];
  const id = required(controller.alias, 'controller alias').name;
  const place = pciPlace(controller.address, domain.devices.controller);
  if (controller.type === 'sata') return ['-device', json({ driver: 'ahci', id, ...place })];
  const port = required(controller.target?.port, 'port');
  const chassis = required(controller.target?.chassis, 'chassis');
  return ['-device', json({ driver: 'pcie-root-port', port, chassis, id, ...place })];
}

const isBuiltIn = (controller: Controller, { machine }: Domain): boolean =>
  controller.type === 'pci' ? controller.model !== 'pcie-root-port' : controller.index === 0 && isQ35(machine);
