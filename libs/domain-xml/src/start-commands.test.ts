import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { parseDomain } from './parse.ts';
import { pinningOf } from './pinning.ts';
import { startCommands } from './start-commands.ts';

const read = (top: string, devices = '') =>
  completeDomain(
    parseDomain(
      `<domain type='qemu'><name>a</name><memory unit='MiB'>64</memory>${top}
        <os><type machine='pc-q35-7.2'>hvm</type></os><devices>${devices}</devices></domain>`,
      { allowedRoots: ['/'], maxBytes: 1 << 20 },
    ),
    { machineAliases: {} },
  );
const card = (state: string) => `<interface type='user'><link state='${state}'/></interface>`;

describe('what QEMU is told before its CPUs run', () => {
  it('is how much memory the balloon leaves, unless the guest brings its balloon along', () => {
    const domain = read("<currentMemory unit='MiB'>32</currentMemory>");
    expect(startCommands(domain, false)).toEqual([{ execute: 'balloon', arguments: { value: 32 * 1024 * 1024 } }]);
    expect(startCommands(domain, true)).toEqual([]);
  });

  it('is nothing where all memory is the guest\u2019s, or nothing could take it', () => {
    expect(startCommands(read(''), false)).toEqual([]);
    const none = read("<currentMemory unit='MiB'>32</currentMemory>", "<memballoon model='none'/>");
    expect(startCommands(none, false)).toEqual([]);
  });

  it('is which cables are not plugged in, on both sides', () => {
    const domain = read('', card('up') + card('down'));
    const unplugged = [{ execute: 'set_link', arguments: { name: 'net1', up: false } }];
    expect([startCommands(domain, false), startCommands(domain, true)]).toEqual([unplugged, unplugged]);
  });
});

describe('pinning', () => {
  it('is for everything, and for what is named', () => {
    const pins = "<cputune><vcpupin vcpu='1' cpuset='4-5'/><emulatorpin cpuset='7'/></cputune>";
    expect(pinningOf(read(`<vcpu cpuset='0-2,^1' current='2'>3</vcpu><iothreads>1</iothreads>${pins}`))).toEqual({
      emulator: [7],
      vcpus: [
        { id: 0, cpus: [0, 2] },
        { id: 1, cpus: [4, 5] },
      ],
      iothreads: [{ id: 1, cpus: [0, 2] }],
    });
  });

  it('is nobody\u2019s where none is asked for', () => {
    expect(pinningOf(read(''))).toEqual({ emulator: undefined, vcpus: [{ id: 0, cpus: undefined }], iothreads: [] });
  });
});
