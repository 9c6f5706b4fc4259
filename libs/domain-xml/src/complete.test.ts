import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { DomainXmlError } from './errors.ts';
import { filesOf } from './files.ts';
import { parseDomain } from './parse.ts';
import { qemuArguments } from './qemu/arguments.ts';

const policy = { allowedRoots: ['/var/lib/ferry'], maxBytes: 1 << 20 };
const host = { machineAliases: { q35: 'pc-q35-7.2', pc: 'pc-i440fx-7.2' } };
const complete = (devices: string, machine = 'q35', more = '') =>
  completeDomain(
    parseDomain(
      `<domain type='qemu'><name>a</name><uuid>4b1f2a6e-97c5-4a0e-8f4f-0d8a1c2b3e4f</uuid><memory>65536</memory><vcpu>1</vcpu>
        <os><type machine='${machine}'>hvm</type></os>${more}<devices>${devices}</devices></domain>`,
      policy,
    ),
    host,
  );
const disk = (dev: string, more = '') =>
  `<disk type='file'><source file='/var/lib/ferry/${dev}'/><target dev='${dev}'/>${more}</disk>`;

describe('completing a document', () => {
  it('resolves what the host calls its machines', () => {
    expect(complete('').machine).toBe('pc-q35-7.2');
    expect(complete('', 'pc').machine).toBe('pc-i440fx-7.2');
    expect(complete('', 'pc-q35-6.0').machine).toBe('pc-q35-6.0');
  });

  it('gives a document without devices those of every machine', () => {
    const xml =
      '<domain type="qemu"><name>a</name><memory>65536</memory><os><type machine="pc">hvm</type></os></domain>';
    const { controller, memballoon } = completeDomain(parseDomain(xml, policy), host).devices;
    expect(controller.map((one) => one.type)).toEqual(['usb', 'pci']);
    expect(memballoon?.model).toBe('virtio');
  });

  it('keeps the addresses that are there and goes around them', () => {
    const { disk: disks } = complete(`${disk('vda')}${disk('vdb', "<address type='pci' slot='0x02'/>")}`, 'pc').devices;
    expect(disks.map((one) => one.address)).toMatchObject([{ slot: 3 }, { slot: 2 }]);
  });

  it('chooses the place of what is only said to be on PCI', () => {
    const on = "<address type='pci'/>";
    const { controller, memballoon } = complete(
      `<controller type='usb' model='piix3-uhci'>${on}</controller><memballoon model='virtio'>${on}</memballoon>`,
      'pc',
    ).devices;
    expect(controller.find((one) => one.type === 'usb')?.address).toMatchObject({ slot: 1, function: 2 });
    expect(memballoon?.address).toMatchObject({ slot: 2, function: 0 });
  });

  it('makes the same MAC address up each time', () => {
    const macs = () =>
      complete("<interface type='user'/><interface type='user'/>").devices.interface.map((one) => one.mac?.address);
    expect(macs()).toEqual(macs());
    expect(new Set(macs()).size).toBe(2);
  });

  it('adds hubs when there are more USB devices than ports', () => {
    const mice = "<input type='mouse' bus='usb'/>".repeat(12);
    const { hub, input } = complete(`<hub type='usb'/>${mice}`, 'pc').devices;
    expect(hub.map((one) => one.address?.port)).toEqual(['1', '2']);
    expect(input.filter((one) => one.bus === 'usb').map(({ address }) => address?.type)).toEqual(Array(12).fill('usb'));
  });

  it('takes memory from the NUMA nodes where none is given, and no balloon is larger than it', () => {
    const xml = (memory: string) => `<domain type='qemu'><name>a</name>${memory}<vcpu>2</vcpu><os><type>hvm</type></os>
      <cpu><numa><cell cpus='0' memory='65536'/><cell cpus='1' memory='65536'/></numa></cpu><devices/></domain>`;
    for (const memory of ['', "<memory>131072</memory><currentMemory unit='TiB'>1</currentMemory>"]) {
      const { document, currentMemoryBytes } = completeDomain(parseDomain(xml(memory), policy), host);
      expect([document.memory.kib, currentMemoryBytes]).toEqual([131_072, 131_072 * 1024]);
    }
  });

  it('puts the variables of firmware where libvirt does', () => {
    const xml = `<domain type='qemu'><name>a b</name><memory>65536</memory><os><type machine='q35'>hvm</type>
      <loader type='pflash' readonly='yes'>/var/lib/ferry/code.fd</loader></os><features><acpi/></features><devices/></domain>`;
    const { nvram } = completeDomain(parseDomain(xml, policy), host).document.os;
    expect(nvram?.path).toBe('/var/lib/libvirt/qemu/nvram/a b_VARS.fd');
  });

  it('knows distances in both directions, and tells QEMU those that nobody gave', () => {
    const cell = (id: number, inner = '') => `<cell id='${id}' memory='32768'>${inner}</cell>`;
    const given = cell(0, "<distances><sibling id='1' value='21'/></distances>");
    const domain = complete('', 'pc', `<cpu><numa>${given}${cell(1)}${cell(2)}</numa></cpu>`);
    expect(domain.document.cpu?.numa?.cell.map(({ distances }) => distances?.sibling)).toEqual([
      [
        { id: 0, value: 10 },
        { id: 1, value: 21 },
      ],
      [
        { id: 0, value: 21 },
        { id: 1, value: 10 },
      ],
      undefined,
    ]);
    const told = qemuArguments(domain, '/run').filter((one) => one.startsWith('dist,src=2'));
    expect(told).toEqual(['dist,src=2,dst=0,val=20', 'dist,src=2,dst=1,val=20', 'dist,src=2,dst=2,val=10']);
  });

  it('gives a machine without PS/2 no mouse and keyboard', () => {
    const inputs = (features: string) => complete('', 'q35', features).devices.input.map((one) => one.type);
    expect(inputs('')).toEqual(['mouse', 'keyboard']);
    expect(inputs("<features><ps2 state='off'/></features>")).toEqual([]);
  });

  it('takes a network drive without a medium for an empty one', () => {
    const { disk: disks } = complete(
      "<disk type='network' device='cdrom'><target dev='sda' bus='sata'/></disk>",
    ).devices;
    expect(disks).toMatchObject([{ type: 'file', device: 'cdrom' }]);
  });

  it('adds bridges when a pc is full', () => {
    const { controller } = complete(
      Array.from({ length: 31 }, (_, i) =>
        disk(
          `vd${String.fromCharCode(97 + Math.floor(i / 26) - 1)}${String.fromCharCode(97 + (i % 26))}`.replace('`', ''),
        ),
      ).join(''),
      'pc',
    ).devices;
    expect(controller.filter((one) => one.type === 'pci' && one.model === 'pci-bridge')).toHaveLength(1);
  });

  it.each([
    [
      'an address is used twice',
      disk('vda', "<address type='pci' slot='5'/>") + disk('vdb', "<address type='pci' slot='5'/>"),
      '/domain/devices/disk[2]/address (line 2): PCI address 00:05.0: this PCI address is used twice',
    ],
    [
      'an address of the chipset is taken',
      "<video><model type='cirrus'/><address type='pci' slot='0x1f'/></video>",
      '/domain/devices/video/address (line 2): PCI address 00:1f.0: this PCI address is used twice',
    ],
    [
      'a USB port is not there',
      "<input type='mouse' bus='usb'><address type='usb' bus='0' port='9'/></input>",
      '/domain/devices/input/address (line 2): there is no USB port 9',
    ],
    [
      'a disk has no place on the controller that was numbered',
      `${disk('sdb')}<controller type='scsi' model='vmpvscsi'/>`,
      '/domain/devices/disk/address/@unit (line 2): vmpvscsi has no unit 1',
    ],
    [
      'the SATA of a q35 is elsewhere',
      "<controller type='sata' index='0'><address type='pci' slot='5'/></controller>",
      'SATA',
    ],
    [
      'a root port has two slots',
      "<controller type='pci' index='1' model='pcie-root-port'/><memballoon model='virtio'><address type='pci' bus='1' slot='1'/></memballoon>",
      'slots 0 to 0',
    ],
  ])('refuses a document in which %s', (_, devices, what) => {
    expect(() => complete(devices)).toThrow(DomainXmlError);
    expect(() => complete(devices)).toThrow(what);
  });

  it('gives sockets that are left to the host a place in the directory of the domain', () => {
    const domain = complete("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>");
    expect(qemuArguments(domain, '/run/ferry/a').join(' ')).toContain(
      'path=/run/ferry/a/channel0.sock,server=on,wait=off',
    );
  });

  it('names every file that QEMU will open', () => {
    const domain = complete(
      `${disk('vda', '<readonly/>')}<serial type='file'><source path='/var/lib/ferry/log'/></serial>`,
      'q35',
    );
    expect(filesOf(domain)).toEqual([
      { path: '/var/lib/ferry/vda', use: 'disk', readOnly: true, expects: ['regular'] },
      { path: '/var/lib/ferry/log', use: 'chardev-file', readOnly: false, expects: ['regular', 'absent'] },
    ]);
  });
});
