import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { migrationHazards } from './hazards.ts';
import { parseDomain } from './parse.ts';

const hazardsOf = (devices: string, type = 'qemu', cpu = '') => {
  const xml = `<domain type='${type}'><name>a</name><memory>65536</memory><vcpu>1</vcpu>
    <os><type machine='pc-q35-7.2'>hvm</type></os>${cpu}<devices>${devices}</devices></domain>`;
  const domain = parseDomain(xml, { allowedRoots: ['/'], maxBytes: 1 << 20 });
  return migrationHazards(completeDomain(domain, { machineAliases: {} })).map(({ path }) => path);
};
const disk = (driver: string, more = '') =>
  `<disk type='file'>${driver}<source file='/a'/><target dev='vda'/>${more}</disk>`;

describe('moving a domain', () => {
  it.each([
    ['without disks', ''],
    ['with a disk that this host does not cache', disk("<driver cache='none'/>")],
    ['with a disk that nobody writes', disk("<driver cache='writeback'/>", '<readonly/>')],
    ['with an empty drive', "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"],
  ])('is safe %s', (_, devices) => expect(hazardsOf(devices)).toEqual([]));

  it.each([
    ['a cached disk', disk("<driver cache='writeback'/>"), '/domain/devices/disk/driver/@cache'],
    ['a disk with the default cache', disk(''), '/domain/devices/disk/driver/@cache'],
    ['a directory', "<filesystem><source dir='/a'/><target dir='b'/></filesystem>", '/domain/devices/filesystem'],
  ])('is not with %s', (_, devices, path) => expect(hazardsOf(devices)).toEqual([path]));

  it("is not with the host's own CPU", () => {
    expect(hazardsOf('', 'kvm', "<cpu mode='host-passthrough'/>")).toEqual(['/domain/cpu/@mode']);
  });
});
