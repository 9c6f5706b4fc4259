import type { Devices } from './vocabulary/devices.ts';
import type { DomainDocument } from './vocabulary/domain.ts';

/** What a document holds besides what Ferry reads: given back as it came. */
export interface Kept {
  /** `<metadata>` and elements of foreign namespaces below `<domain>`, byte for byte. */
  readonly elements: readonly { readonly name: string; readonly source: string }[];
  /** Namespaces declared on `<domain>`, by prefix. */
  readonly namespaces: Readonly<Record<string, string>>;
}

/** A virtual machine as its document defines it. */
export interface Domain {
  readonly name: string;
  readonly uuid: string;
  /** What the guest gets: whole MiB, as libvirt starts it. */
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly machine: string;
  readonly devices: Devices;
  /** The whole document as read. */
  readonly document: DomainDocument & { readonly uuid: string };
  readonly kept: Kept;
}

const mib = 1024 * 1024;

/** A domain from its document. */
export function domainOf(document: Domain['document'], kept: Kept): Domain {
  return {
    name: document.name,
    uuid: document.uuid,
    memoryBytes: Math.ceil((document.memory * 1024) / mib) * mib,
    vcpus: document.vcpu.count,
    machine: document.os.type.machine ?? 'pc',
    devices: document.devices,
    document,
    kept,
  };
}
