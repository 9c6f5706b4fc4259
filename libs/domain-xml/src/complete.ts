import { assignAliases } from './complete/aliases.ts';
import { completeFirmware } from './complete/firmware.ts';
import { withDistances } from './complete/distances.ts';
import { addImpliedDevices } from './complete/implied.ts';
import { assignPciAddresses } from './complete/pci-addresses.ts';
import { type Domain, domainOf, memoryOf } from './domain.ts';
import { Findings, linesOf } from './codec/place.ts';
import { isQ35 } from './machines.ts';
import { checkDocument } from './rules/document.ts';
import type { Cpu } from './vocabulary/cpu.ts';

export interface HostDefaults {
  /** What `pc` and `q35` mean here: `{ q35: 'pc-q35-7.2' }`. */
  readonly machineAliases: Readonly<Record<string, string>>;
}

/**
 * Fills in what libvirt would: defaults, implied devices, addresses and aliases. What a document says is never changed, so
 * completing twice changes nothing. Throws DomainXmlError('xml-invalid') if its addresses contradict each other or do not suffice.
 */
export function completeDomain(domain: Domain, host: HostDefaults): Domain {
  const { document } = domain;
  const machine = host.machineAliases[domain.machine] ?? domain.machine;
  const firmware = completeFirmware(document);
  const withDefaults: Domain['document'] = {
    ...document,
    currentMemory: Math.min(document.currentMemory ?? memoryOf(document), memoryOf(document)),
    memory: { ...document.memory, kib: memoryOf(document) },
    ...completeIothreads(document),
    ...firmware,
    os: { ...firmware.os, type: { ...document.os.type, machine }, boot: bootOrder(document) },
    cpu: completeCpu(document),
    clock: document.clock ?? { offset: 'utc', timer: [] },
    on_poweroff: document.on_poweroff ?? 'destroy',
    on_reboot: document.on_reboot ?? 'restart',
    on_crash: document.on_crash ?? 'destroy',
  };
  const implied = addImpliedDevices(withDefaults);
  const q35 = isQ35(machine);
  const devices = assignAliases(assignPciAddresses(implied.devices, q35), q35);
  const completed = { ...implied, devices };
  // What was filled in follows the same rules as what was given, so what is written can be read.
  const findings = new Findings({ allowedRoots: [], maxBytes: 0 }, linesOf(domain.kept));
  checkDocument(completed, findings);
  if (findings.problems.length > 0) throw findings.error();
  return domainOf(completed, domain.kept);
}

/** A document that says nothing about booting boots from its first disk (virDomainDefBootOrderPostParse). */
function bootOrder({ os, devices }: Domain['document']): Domain['document']['os']['boot'] {
  const ordered = [...devices.disk, ...devices.interface, ...devices.redirdev].some(
    (device) => device.boot !== undefined,
  );
  return os.boot.length > 0 || ordered ? os.boot : [{ dev: 'hd' }];
}

/** Numbers the I/O threads that only their count names, where others have numbers (virDomainIOThreadIDArrayInit). */
function completeIothreads({
  iothreads,
  iothreadids,
}: Domain['document']): Pick<Domain['document'], 'iothreads' | 'iothreadids'> {
  if (iothreadids === undefined) return {};
  const given = iothreadids.iothread;
  const missing = Math.max(0, (iothreads ?? 0) - given.length);
  const free = Array.from({ length: missing + given.length }, (_, i) => i + 1).filter(
    (id) => !given.some((one) => one.id === id),
  );
  const iothread = [...given, ...free.slice(0, missing).map((id) => ({ id }))];
  return { iothreads: iothread.length, iothreadids: { iothread } };
}

/** qemuDomainDefCPUPostParse: without a model it is QEMU's own; a hypervisor's CPU is compared with the host's. */
function completeCpu({ type, cpu }: Domain['document']): Cpu {
  if (cpu === undefined) {
    return {
      mode: 'custom',
      match: 'exact',
      check: 'none',
      model: { fallback: 'forbid', name: 'qemu64' },
      feature: [],
    };
  }
  const numa = cpu.numa && { cell: cpu.numa.cell.map((cell, i) => ({ ...cell, id: cell.id ?? i })) };
  const cells = numa === undefined ? {} : { numa: { cell: withDistances(numa.cell.toSorted((a, b) => a.id - b.id)) } };
  if (cpu.mode === 'host-passthrough' || cpu.mode === 'maximum')
    return { ...cpu, ...cells, check: cpu.check ?? 'none', migratable: cpu.migratable ?? true };
  if (cpu.mode === 'host-model') return { ...cpu, ...cells, check: cpu.check ?? 'partial' };
  const check = cpu.check ?? (type === 'kvm' && cpu.model !== undefined ? 'partial' : 'none');
  return { ...cpu, ...cells, check, model: cpu.model ?? { fallback: 'forbid', name: 'qemu64' } };
}
