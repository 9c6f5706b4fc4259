import { assignAliases } from './complete/aliases.ts';
import { assignPciAddresses } from './complete/pci-addresses.ts';
import { addImpliedDevices } from './complete/implied.ts';
import { type Domain, domainOf } from './domain.ts';
import { isQ35 } from './machines.ts';

export interface HostDefaults {
  /** What `pc` and `q35` mean here: `{ q35: 'pc-q35-7.2' }`. */
  readonly machineAliases: Readonly<Record<string, string>>;
}

/**
 * Fills in what libvirt would: defaults, implied devices, PCI addresses and aliases. What a document says is never changed, so
 * completing twice changes nothing.
 */
export function completeDomain(domain: Domain, host: HostDefaults): Domain {
  const { document } = domain;
  const machine = host.machineAliases[domain.machine] ?? domain.machine;
  const withDefaults: Domain['document'] = {
    ...document,
    currentMemory: document.currentMemory ?? document.memory,
    os: { ...document.os, type: { ...document.os.type, machine } },
    cpu: document.cpu ?? {
      mode: 'custom',
      match: 'exact',
      check: 'none',
      model: { fallback: 'forbid', name: 'qemu64' },
    },
    clock: document.clock ?? { offset: 'utc' },
    on_poweroff: document.on_poweroff ?? 'destroy',
    on_reboot: document.on_reboot ?? 'restart',
    on_crash: document.on_crash ?? 'destroy',
  };
  const implied = addImpliedDevices(withDefaults);
  const addressed = { ...implied, devices: assignPciAddresses(implied.devices, isQ35(machine)) };
  return domainOf({ ...addressed, devices: assignAliases(addressed.devices) }, domain.kept);
}
