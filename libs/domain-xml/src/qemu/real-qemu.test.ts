import { describe, expect, it } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { completeDomain } from '../complete.ts';
import { parseDomain } from '../parse.ts';
import { asking, devicesOf, withDirectory } from '../testing/real-qemu.ts';
import { qemuArguments } from './arguments.ts';

const optionsOf = (xml: string, directory: string) =>
  qemuArguments(
    completeDomain(parseDomain(xml, { allowedRoots: [directory], maxBytes: 1 << 20 }), { machineAliases: {} }),
  );

const hostile = [
  'a=1,b=2',
  '-device,readonly=on',
  '"},{"driver":"x"',
  "$(id);'%s%n",
  ' two  words ',
  'ü 東京',
  'file:x,,y,',
  '<&>#\\',
];
const inXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;').replaceAll("'", '&apos;');

describe('a real QEMU', () => {
  it.each(hostile)('knows %j by just that, whatever has the name', async (text) => {
    const told = await withDirectory(async (directory) => {
      for (const name of ['disk', 'log']) writeFileSync(join(directory, `${name}${text}`), Buffer.alloc(1 << 20));
      const options = optionsOf(
        `<domain type='qemu'><name>${inXml(text)}</name><memory unit='MiB'>16</memory>
          <sysinfo type='smbios'><system><entry name='product'>${inXml(text)}</entry></system></sysinfo>
          <sysinfo type='fwcfg'><entry name='opt/a'>${inXml(text)}</entry></sysinfo>
          <os><type machine='pc-i440fx-7.2'>hvm</type><smbios mode='sysinfo'/></os><features><acpi/></features>
          <devices>
            <disk><source file='${directory}/disk${inXml(text)}'/><target dev='vda'/></disk>
            <serial type='file'><source path='${directory}/log${inXml(text)}'/></serial>
            <channel type='null'><target type='virtio' name='${inXml(text)}'/></channel>
          </devices></domain>`,
        directory,
      );
      return asking(options, directory, async (execute) => {
        const named = (await execute('query-name')) as { readonly name: string };
        const blocks = (await execute('query-named-block-nodes')) as readonly { readonly file: string }[];
        const ports = (await execute('query-chardev')) as readonly {
          readonly label: string;
          readonly filename: string;
        }[];
        const path = '/machine/peripheral/channel0';
        return {
          name: named.name,
          files: [...new Set(blocks.map(({ file }) => file.replace(`${directory}/`, '')))],
          port: await execute('qom-get', { path, property: 'name' }),
          devices: await execute('qom-list', { path: '/machine/peripheral' }).then((all) => (all as object[]).length),
          logs: ports.filter(({ label }) => label === 'charserial0').length,
        };
      });
    });
    const expected = { name: text, files: [`disk${text}`], port: text, logs: 1 };
    expect(told).toMatchObject(expected);
    expect(told.devices).toBe(7);
  });
});

describe('a real QEMU accepts the arguments', () => {
  it('of a guest that is only a firmware ROM', async () => {
    const devices = await withDirectory((directory) => {
      writeFileSync(join(directory, 'guest.rom'), Buffer.alloc(65_536, 0xf4));
      return devicesOf(
        optionsOf(
          `<domain type='qemu'><name>tiny</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
            <sysinfo type='fwcfg'><entry name='opt/ferry.guest'>dirty=16M tick=10</entry></sysinfo>
            <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
              <loader readonly='yes' type='rom'>${directory}/guest.rom</loader></os>
            <devices><serial type='unix'><source path='${directory}/serial'/></serial></devices></domain>`,
          directory,
        ),
        directory,
      );
    });
    expect(devices).toEqual({
      'pci.1': 'pcie.0 01.0',
      'pci.2': 'pcie.0 01.1',
      'pci.3': 'pcie.0 01.2',
      usb: 'pci.1 00.0',
      balloon0: 'pci.2 00.0',
    });
  });

  it.each(['pc-q35-7.2', 'pc-i440fx-7.2'])('of a %s machine with disks and network cards', async (machine) => {
    const devices = await withDirectory((directory) => {
      for (const disk of ['a', 'b']) writeFileSync(join(directory, disk), Buffer.alloc(1 << 20));
      return devicesOf(
        optionsOf(
          `<domain type='qemu'><name>web-1</name><memory unit='MiB'>64</memory><vcpu>4</vcpu>
            <os><type arch='x86_64' machine='${machine}'>hvm</type><boot dev='hd'/></os>
            <features><acpi/><apic/></features>
            <cpu mode='custom'><model>qemu64</model><topology sockets='2' cores='2' threads='1'/></cpu>
            <devices>
              <disk type='file'><driver name='qemu' type='raw' cache='writeback' discard='unmap'/>
                <source file='${directory}/a'/><target dev='vda'/><serial>WD-1</serial></disk>
              <disk type='file'><source file='${directory}/b'/><target dev='sdb' bus='sata'/><shareable/></disk>
              <interface type='user'><mac address='52:54:00:09:a4:37'/><model type='virtio'/></interface>
              <serial type='null'/>
            </devices></domain>`,
          directory,
        ),
        directory,
      );
    });
    const q35 = {
      'pci.1': 'pcie.0 01.0',
      'pci.2': 'pcie.0 01.1',
      'pci.3': 'pcie.0 01.2',
      'pci.4': 'pcie.0 01.3',
      'pci.5': 'pcie.0 01.4',
      net0: 'pci.1 00.0',
      usb: 'pci.2 00.0',
      'virtio-disk0': 'pci.3 00.0',
      balloon0: 'pci.4 00.0',
    };
    const pc = {
      usb: 'pci.0 01.2',
      net0: 'pci.0 02.0',
      sata0: 'pci.0 03.0',
      'virtio-disk0': 'pci.0 04.0',
      balloon0: 'pci.0 05.0',
    };
    expect(devices).toEqual(machine.includes('q35') ? q35 : pc);
  });
});
