import type { Controller } from '../vocabulary/controller.ts';
import type { Devices } from '../vocabulary/devices.ts';
import { diskIndex } from './disks.ts';

interface Named {
  readonly alias?: { readonly name: string };
}

/** Gives each device the alias that libvirt would (qemu_alias.c); one given by the user stays, and no two are the same. */
export function assignAliases(devices: Devices, q35: boolean): Devices {
  const taken = new Set<string>();
  for (const part of Object.values(devices)) {
    for (const one of (Array.isArray(part) ? part : [part]) as readonly (Named | string)[]) {
      if (typeof one === 'object' && one.alias !== undefined) taken.add(one.alias.name);
    }
  }
  const unique = (wanted: string): string => {
    let found = wanted;
    for (let i = 1; taken.has(found); i += 1) found = `${wanted}-${i}`;
    taken.add(found);
    return found;
  };
  const name = <D extends Named>(one: D, wanted: string): D =>
    one.alias === undefined ? { ...one, alias: { name: unique(wanted) } } : one;
  const count = <D extends Named>(list: readonly D[], prefix: string): readonly D[] =>
    list.map((one, i) => name(one, `${prefix}${i}`));

  const serial = count(devices.serial, 'serial');
  const { memballoon, iommu, vsock, tpm } = devices;
  return {
    ...devices,
    disk: devices.disk.map((one) => name(one, diskAlias(one))),
    controller: devices.controller.map((one) => (isCompanion(one) ? one : name(one, controllerAlias(one, q35)))),
    filesystem: count(devices.filesystem, 'fs'),
    interface: count(devices.interface, 'net'),
    smartcard: count(devices.smartcard, 'smartcard'),
    serial,
    parallel: count(devices.parallel, 'parallel'),
    // The first console is the first serial port under another name.
    console: devices.console.map((one, i) =>
      i === 0 && one.target?.type === 'serial' && serial[0]?.alias !== undefined
        ? { ...one, alias: serial[0].alias }
        : name(one, `console${i}`),
    ),
    channel: count(devices.channel, 'channel'),
    input: count(devices.input, 'input'),
    sound: count(devices.sound, 'sound'),
    video: count(devices.video, 'video'),
    redirdev: count(devices.redirdev, 'redir'),
    hub: count(devices.hub, 'hub'),
    watchdog: count(devices.watchdog, 'watchdog'),
    rng: count(devices.rng, 'rng'),
    shmem: count(devices.shmem, 'shmem'),
    panic: count(devices.panic, 'panic'),
    memory: devices.memory.map((one) => name(one, `${one.model}${one.address?.slot ?? 0}`)),
    crypto: count(devices.crypto, 'crypto'),
    ...(memballoon === undefined || memballoon.model === 'none' ? {} : { memballoon: name(memballoon, 'balloon0') }),
    ...(iommu === undefined ? {} : { iommu: name(iommu, 'iommu0') }),
    ...(tpm === undefined ? {} : { tpm: name(tpm, 'tpm0') }),
    ...(vsock === undefined ? {} : { vsock: name(vsock, 'vsock0') }),
  };
}

function diskAlias({ target, address }: Devices['disk'][number]): string {
  if (address?.type !== 'drive') return `${target.bus ?? 'virtio'}-disk${diskIndex(target.dev)}`;
  return `${target.bus}${address.controller}-${address.bus}-${address.unit}`;
}

/** A USB 1 companion of a USB 2 controller has its master's name. */
const isCompanion = (c: Controller): boolean => c.type === 'usb' && c.master !== undefined;

function controllerAlias(c: Controller, q35: boolean): string {
  const index = c.index ?? 0;
  if (c.type === 'pci') return c.model === 'pcie-root' ? 'pcie.0' : `pci.${index}`;
  if (c.type === 'usb') return index === 0 ? 'usb' : `usb${index}`;
  // What the chipset has built in is called ide by QEMU.
  if (index === 0 && c.type === (q35 ? 'sata' : 'ide')) return 'ide';
  return `${c.type}${index}`;
}
