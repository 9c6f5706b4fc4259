import { describe, expect, it } from '@jest/globals';
import { refusalsOf } from '../testing/refusals.ts';

const remapper = (model: string, inner: string) => `<iommu model='${model}'>${inner}</iommu>`;
const acpi = '<features><acpi/></features>';

describe('a remapper', () => {
  it.each([
    ['', remapper('virtio', ''), '/iommu/@model guests learn of it by ACPI'],
    [acpi, remapper('virtio', "<driver eim='on'/>"), '/iommu/driver/@eim a virtio remapper has no eim'],
    [acpi, remapper('virtio', "<address type='pci' bus='1'/>"), '/iommu/address/@bus it is on the root bus'],
    ['', remapper('intel', "<address type='pci' slot='9'/>"), '/iommu/address an intel remapper is on no bus'],
    [
      '',
      remapper('intel', "<driver intremap='on'/>"),
      '/iommu/driver/@intremap interrupts are remapped only where QEMU has the I/O APIC',
    ],
    [
      "<features><ioapic driver='qemu'/></features>",
      remapper('intel', "<driver eim='on'/>"),
      '/iommu/driver/@eim it is about remapped interrupts',
    ],
  ])('with %s is refused: %s', (more, devices, problem) =>
    expect(refusalsOf(devices, { machine: 'q35', more })).toEqual([problem]),
  );

  it.each([
    [acpi, remapper('virtio', '')],
    ["<features><ioapic driver='qemu'/></features>", remapper('intel', "<driver intremap='on' eim='on'/>")],
  ])('with %s is not: %s', (more, devices) => expect(refusalsOf(devices, { machine: 'q35', more })).toEqual([]));
});
