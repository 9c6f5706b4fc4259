import { describe, expect, it } from '@jest/globals';
import { refusalsOf } from '../testing/refusals.ts';

const bus = (model: string, index: number, inner = '') =>
  `<controller type='pci' index='${index}' model='${model}'>${inner}</controller>`;
const on = (parent: number) => `<address type='pci' bus='${parent}' slot='3'/>`;

describe('a SCSI controller', () => {
  it('of no virtio is told nothing of queues', () => {
    const what = '/controller/driver/@queues only a virtio controller has queues';
    expect(refusalsOf("<controller type='scsi'><driver queues='2'/></controller>")).toEqual([what]);
    expect(refusalsOf("<controller type='scsi' model='virtio-scsi'><driver queues='2'/></controller>")).toEqual([]);
  });
});

describe('a PCI bus', () => {
  it.each([
    ['pc', bus('pcie-expander-bus', 1), '/controller/@model a pc machine has no pcie-expander-bus'],
    ['q35', bus('pci-expander-bus', 1), '/controller/@model a q35 machine has no pci-expander-bus'],
    ['pc', bus('pci-root', 0, on(0)), '/controller/address a root bus is plugged into nothing'],
    ['pc', bus('pci-bridge', 1, "<model name='ioh3420'/>"), '/controller/model/@name a pci-bridge is no ioh3420'],
    ['pc', bus('pci-bridge', 1, "<target port='1'/>"), '/controller/target/@port a pci-bridge has no port'],
    ['pc', bus('pci-bridge', 1, "<target hotplug='off'/>"), '/controller/target/@hotplug a pci-bridge has no hotplug'],
    [
      'q35',
      bus('pcie-root-port', 1, '<target><node>0</node></target>'),
      '/controller/target/node a pcie-root-port has no node',
    ],
    [
      'pc',
      bus('pci-bridge', 1, "<pcihole64 unit='GiB'>1</pcihole64>"),
      '/controller/pcihole64 only a root bus has a hole',
    ],
    [
      'pc',
      bus('pci-expander-bus', 1, '<target><node>0</node></target>'),
      '/controller/target/node the guest has no node 0',
    ],
    ['pc', bus('pci-bridge', 1, on(1)), '/controller/address it is plugged into itself'],
  ] as const)('of a %s is refused: %s', (machine, devices, problem) =>
    expect(refusalsOf(devices, { machine })).toEqual([problem]),
  );

  it('that has no place is named', () => {
    const what = 'there is no free place for a pcie-switch-downstream-port';
    const alone = bus('pcie-switch-downstream-port', 1);
    expect(refusalsOf(alone, { machine: 'q35' })).toEqual([`/controller ${what}`]);
  });

  it('is not plugged into one that is plugged into it', () => {
    const loop = bus('pci-bridge', 1, on(2)) + bus('pci-bridge', 2, on(1)) + bus('pci-bridge', 3, on(2));
    const what = 'it is plugged into itself';
    expect(refusalsOf(loop)).toEqual([`/controller[1]/address ${what}`, `/controller[2]/address ${what}`]);
  });
});
