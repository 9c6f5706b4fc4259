import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { parseDomain } from './parse.ts';
import { writeDomain, writeDomainForOlderLibvirt } from './write.ts';

const host = { machineAliases: {} };
const read = (xml: string) => completeDomain(parseDomain(xml, { allowedRoots: ['/'], maxBytes: 1 << 20 }), host);
const document = (inside: string, machine = 'pc-q35-7.2'): string =>
  `<domain type='qemu'><name>a</name><uuid>6fa459ea-ee8a-4ca4-894e-db77e160355e</uuid><memory>65536</memory><vcpu>2</vcpu>
   <os><type machine='${machine}'>hvm</type></os><cpu><model>qemu64</model><topology sockets='2' cores='1' threads='1'/></cpu>
   <devices>${inside}</devices></domain>`;

describe('a document for older libvirts', () => {
  it.each([
    ['of a q35 machine', '', 'pc-q35-7.2', 0],
    ['of an old PC', '', 'pc-i440fx-7.2', 0],
    ['with a watchdog besides the chipset’s', "<watchdog model='i6300esb' action='pause'/>", 'pc-q35-7.2', 1],
    ['with the chipset’s, doing something else', "<watchdog model='itco' action='pause'/>", 'pc-q35-7.2', 1],
    ['with the chipset’s as it is', "<watchdog model='itco' action='reset'/>", 'pc-q35-7.2', 0],
    [
      'with the chipset’s first',
      "<watchdog model='itco' action='reset'/><watchdog model='ib700' action='reset'/>",
      'pc-q35-7.2',
      2,
    ],
    [
      'with an alias of the user’s',
      "<watchdog model='itco' action='reset'><alias name='ua-dog'/></watchdog>",
      'pc-q35-7.2',
      1,
    ],
  ])('%s is of the same domain', (_, devices, machine, dogs) => {
    const domain = read(document(devices, machine));
    expect(writeDomain(domain)).toContain("clusters='1'");
    const written = writeDomainForOlderLibvirt(domain);
    expect(written).not.toContain('clusters');
    expect(written.match(/<watchdog/g) ?? []).toHaveLength(dogs);
    expect(read(written)).toEqual(domain);
    expect(writeDomainForOlderLibvirt(read(written))).toBe(written);
  });
});
