import type { Devices } from './vocabulary/devices.ts';
import type { DomainDocument } from './vocabulary/domain.ts';

/** What a document holds besides what Ferry reads: given back as it came. */
export interface Kept {
  /** `<metadata>` and elements of foreign namespaces below `<domain>`, byte for byte. */
  readonly elements: readonly { readonly name: string; readonly source: string }[];
  /** What `<qemu:commandline>` adds, where the policy allows it. */
  readonly qemuArguments: readonly string[];
  /** Namespaces declared on `<domain>`, by prefix. */
  readonly namespaces: Readonly<Record<string, string>>;
}

/** A virtual machine as its document defines it. */
export interface Domain {
  readonly name: string;
  readonly uuid: string;
  /** All memory that the guest has, modules included: whole MiB, as libvirt starts it. */
  readonly memoryBytes: number;
  /** What the balloon is to leave the guest of it; QEMU is told with `balloon`, not by an argument. */
  readonly currentMemoryBytes: number;
  readonly vcpus: number;
  readonly machine: string;
  readonly devices: Devices;
  /** The whole document as read. */
  readonly document: DomainDocument & { readonly uuid: string };
  readonly kept: Kept;
}

const mib = 1024 * 1024;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const aligned = (kib: number): number => Math.ceil((kib * 1024) / mib) * mib;

/** A module's memory: in steps of 2 MiB, as QEMU takes it (qemuDomainGetMemoryModuleSizeAlignment). */
export const moduleBytes = ({ target }: DomainDocument['devices']['memory'][number]): number =>
  Math.ceil(target.size / 2048) * 2 * mib;

/** What the guest starts with, without its modules; each NUMA node is whole MiB (qemuDomainAlignMemorySizes). */
export function startMemoryBytes({ memory, cpu, devices }: DomainDocument): number {
  const cells = cpu?.numa?.cell ?? [];
  if (cells.length > 0) return sum(cells.map((cell) => aligned(cell.memory)));
  return aligned(memory.kib - sum(devices.memory.map((module) => module.target.size)));
}

/** NUMA nodes and modules have all the memory there is between them (virDomainDefPostParseMemory). */
export function memoryOf({ memory, cpu, devices }: DomainDocument): number {
  const cells = cpu?.numa?.cell ?? [];
  if (cells.length === 0) return memory.kib;
  return sum([...cells.map((cell) => cell.memory), ...devices.memory.map((module) => module.target.size)]);
}

/** A domain from its document. */
export function domainOf(document: Domain['document'], kept: Kept): Domain {
  return {
    name: document.name,
    uuid: document.uuid,
    memoryBytes: startMemoryBytes(document) + sum(document.devices.memory.map(moduleBytes)),
    currentMemoryBytes: (document.currentMemory ?? document.memory.kib) * 1024,
    vcpus: document.vcpu.count,
    machine: document.os.type.machine ?? 'pc',
    devices: document.devices,
    document,
    kept,
  };
}
