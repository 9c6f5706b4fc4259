import { describe, expect, it } from '@jest/globals';
import { completeDomain } from '../complete.ts';
import { parseDomain } from '../parse.ts';
import { qemuArguments } from '../qemu/arguments.ts';
import { refusalsOf } from '../testing/refusals.ts';

const dimm = (address = '', node = 0, kib = 131_072) =>
  `<memory model='dimm'><target><size>${kib}</size><node>${node}</node></target>${address}</memory>`;
const label = "<label><size unit='KiB'>128</size></label>";
const nvdimm = (address: string, inner = label) =>
  `<memory model='nvdimm'><source><path>/a</path></source><target><size unit='MiB'>512</size><node>0</node>${inner}</target>${address}</memory>`;
const at = (slot: number, base = '') => `<address type='dimm' slot='${slot}' ${base === '' ? '' : `base='${base}'`}/>`;
const more = `<maxMemory slots='2' unit='GiB'>4</maxMemory><features><acpi/></features>
  <cpu><numa><cell cpus='0' memory='65536'/></numa></cpu>`;

describe('a memory module', () => {
  it.each([
    [dimm('', 1), '/memory/target/node the guest has no node 1'],
    [dimm(at(2)), '/memory/address/@slot there is no slot 2'],
    [dimm(at(1)).repeat(2), '/memory[2]/address/@slot slot 1 is used twice'],
    [dimm().repeat(3), '/domain/maxMemory/@slots there are 3 modules for 2 slots'],
    [
      dimm(at(0, '0x100000000')) + dimm(at(1, '0x107e00000')),
      '/memory[2]/address/@base another module is in this place',
    ],
    [
      nvdimm('', "<label><size unit='MiB'>512</size></label>"),
      '/memory/target/label/size the label takes all of the module',
    ],
  ])('is refused: %s', (devices, problem) => expect(refusalsOf(devices, { more })).toEqual([problem]));

  it.each([
    dimm(at(0, '0x100000000')) + dimm(at(1, '0x108000000')),
    // The second begins where the label of the first would be.
    nvdimm(at(0, '0x100000000')) + nvdimm(at(1, '0x11fe00000')),
  ])('is not: %s', (devices) => expect(refusalsOf(devices, { more })).toEqual([]));

  it('is rounded up to what QEMU takes', () => {
    const xml = `<domain type='qemu'><name>a</name><vcpu>1</vcpu><os><type machine='pc'>hvm</type></os>${more}<devices>${dimm('', 0, 131_071)}</devices></domain>`;
    const domain = completeDomain(parseDomain(xml, { allowedRoots: [], maxBytes: 4096 }), { machineAliases: {} });
    expect(domain.memoryBytes).toBe((64 + 128) * 1024 ** 2);
    expect(qemuArguments(domain, '/run').join(' ')).toContain('"id":"memdimm0","size":134217728');
  });
});

describe('the pages of a module', () => {
  const memoryOf = (kib: number) => {
    const module = dimm().replace('<target>', `<source><pagesize>${kib}</pagesize></source><target>`);
    const xml = `<domain type='qemu'><name>a</name><vcpu>1</vcpu><os><type machine='pc'>hvm</type></os>${more}<devices>${module}</devices></domain>`;
    const domain = completeDomain(parseDomain(xml, { allowedRoots: [], maxBytes: 4096 }), { machineAliases: {} });
    return qemuArguments(domain, '/run').find((one) => one.includes('"id":"memdimm0"'));
  };

  it('are its own', () => {
    expect(memoryOf(2048)).toContain('"hugetlb":true,"hugetlbsize":2097152');
    expect(memoryOf(4)).toContain('"qom-type":"memory-backend-ram"');
  });
});

describe('a device', () => {
  it.each([
    [
      "<shmem name='a'><model type='ivshmem-plain'/><size unit='MiB'>3</size></shmem>",
      '/shmem/size 3072 KiB are not a power of two of MiB',
    ],
    [
      "<controller type='usb' index='0' model='piix3-uhci' ports='4'/>",
      '/controller/@ports only an xhci has as many ports as it is told',
    ],
    [
      "<rng model='virtio'><backend model='random'/><acpi index='3'/></rng><memballoon model='virtio'><acpi index='3'/></memballoon>",
      '/rng/acpi/@index two devices have index 3',
    ],
    [
      "<filesystem><driver queue='16'/><source dir='/a'/><target dir='a'/></filesystem>",
      '/filesystem/driver/@queue it is about virtiofs',
    ],
    [
      "<controller type='fdc'><address type='pci' slot='9'/></controller>",
      '/controller/address a floppy controller is not on PCI',
    ],
  ])('that QEMU does not have is refused: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));
});
