import type { Controller } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';

interface Named {
  readonly alias?: { readonly name: string };
}

/** Gives each device the alias that libvirt would (qemu_alias.c); one given by the user stays. */
export function assignAliases(devices: Devices): Devices {
  const aliased = <D extends Named>(list: readonly D[], nameOf: (device: D, index: number) => string): readonly D[] =>
    list.map((device, i) => (device.alias === undefined ? { ...device, alias: { name: nameOf(device, i) } } : device));
  const serial = aliased(devices.serial, (_, i) => `serial${i}`);
  const { memballoon } = devices;
  return {
    ...devices,
    disk: aliased(devices.disk, (disk) =>
      disk.address?.type === 'drive'
        ? `${disk.target.bus}${disk.address.controller}-${disk.address.bus}-${disk.address.unit}`
        : `virtio-disk${devices.disk.filter((d) => d.address?.type !== 'drive').indexOf(disk)}`,
    ),
    controller: aliased(devices.controller, (c) => controllerAlias(c)),
    interface: aliased(devices.interface, (_, i) => `net${i}`),
    serial,
    console: aliased(devices.console, (_, i) => (i === 0 && serial[0]?.alias ? serial[0].alias.name : `console${i}`)),
    ...(memballoon === undefined || memballoon.model === 'none' || memballoon.alias !== undefined
      ? {}
      : { memballoon: { ...memballoon, alias: { name: 'balloon0' } } }),
  };
}

function controllerAlias(controller: Controller): string {
  if (controller.type !== 'pci') {
    // The AHCI of a q35 machine is built in, and called ide there.
    return `${controller.type}${controller.index ?? 0}`;
  }
  return controller.model === 'pcie-root' ? 'pcie.0' : `pci.${controller.index ?? 0}`;
}
