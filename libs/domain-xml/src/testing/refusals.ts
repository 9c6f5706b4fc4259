import { completeDomain } from '../complete.ts';
import { DomainXmlError } from '../errors.ts';
import { parseDomain } from '../parse.ts';

interface Extra {
  readonly machine?: 'pc' | 'q35';
  /** What stands before the devices. */
  readonly more?: string;
  readonly vcpus?: number;
  /** What stands in `<os>` besides the type. */
  readonly os?: string;
}

/** What is wrong with a small guest that has these devices, as `path what`; nothing if it can be completed. */
export function refusalsOf(devices: string, { machine = 'pc', more = '', vcpus = 1, os = '' }: Extra = {}): string[] {
  const xml = `<domain type='qemu'><name>web-1</name><memory unit='MiB'>64</memory><vcpu>${vcpus}</vcpu>
    <os><type arch='x86_64' machine='${machine}'>hvm</type>${os}</os>${more}<devices>${devices}</devices></domain>`;
  try {
    completeDomain(parseDomain(xml, { allowedRoots: ['/'], maxBytes: 1 << 20 }), { machineAliases: {} });
    return [];
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    return error.problems.map(({ path, what }) => `${path.replace('/domain/devices', '')} ${what}`);
  }
}
