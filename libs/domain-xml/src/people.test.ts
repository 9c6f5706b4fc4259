/** Documents as people have them: each becomes a machine that QEMU takes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import { parseDomain } from './parse.ts';
import { qemuArguments } from './qemu/arguments.ts';
import { refusalsOf } from './testing/refusals.ts';
import { devicesOf, withDirectory } from './testing/real-qemu.ts';
import { forThisMachine, isMissingHere } from './testing/this-machine.ts';
import { writeDomain } from './write.ts';

const folder = join(import.meta.dirname, 'testing/people');
const names = readdirSync(folder).filter((file) => file.endsWith('.xml'));
const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
const host = { machineAliases: { pc: 'pc-i440fx-7.2', q35: 'pc-q35-7.2' } };

const read = (xml: string) => completeDomain(parseDomain(xml, policy), host);

describe('a document that someone has', () => {
  it.each(names)('%s becomes a machine that QEMU takes, and is written back as it is', async (name) => {
    const domain = read(readFileSync(join(folder, name), 'utf8'));
    expect(read(writeDomain(domain))).toEqual(domain);
    await withDirectory(async (directory) => {
      try {
        const places = await devicesOf(forThisMachine(qemuArguments(domain, directory), directory), directory);
        expect(Object.keys(places).length).toBeGreaterThan(2);
      } catch (error) {
        if (!(error instanceof Error) || !isMissingHere(error.message)) throw error;
      }
    });
  });
});

const medium = (device: string, source: string): string =>
  `<disk type='file' device='${device}'>${source}<target dev='sda' bus='sata'/></disk>`;
const vcpus = (...enabled: string[]): string =>
  `<vcpus>${enabled.map((one, id) => `<vcpu id='${id}' enabled='${one}' hotpluggable='yes' order='${id + 1}'/>`).join('')}</vcpus>`;

describe('what libvirt takes and does nothing with on QEMU', () => {
  it.each([
    [
      'a timer of another driver',
      {
        more: "<clock><timer name='tsc' mode='native'/><timer name='kvmclock' tickpolicy='catchup' mode='auto'/></clock>",
      },
    ],
    ['features of other drivers', { more: '<features><hap/><viridian/><privnet/></features>' }],
    ['a lock manager that there is not', { more: '<on_lockfailure>poweroff</on_lockfailure>' }],
    ['the maker of the processor', { more: '<cpu><model>Haswell</model><vendor>Intel</vendor></cpu>' }],
    [
      'a model of the host’s own CPU',
      { more: "<cpu mode='maximum'><model fallback='allow'>x</model><vendor>Intel</vendor></cpu>" },
    ],
    [
      'what an older libvirt found',
      { more: "<cpu mode='host-model'><model fallback='allow'>Haswell</model><vendor>Intel</vendor></cpu>" },
    ],
    ['the first vCPUs by name', { more: vcpus('yes', 'yes'), vcpus: 2 }],
    [
      'a flash loader that is not called one',
      {
        more: '<features><acpi/></features>',
        os: '<loader>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/x.fd</nvram>',
      },
    ],
  ] as [string, Parameters<typeof refusalsOf>[1]][])('is read: %s', (_what, extra) => {
    expect(refusalsOf('', extra)).toEqual([]);
  });

  it('is read: an emulator without a name', () => expect(refusalsOf('<emulator/>')).toEqual([]));

  it.each([
    ["<source startupPolicy='optional'/>"],
    ["<source file='' startupPolicy='requisite'/>"],
    ["<source file='/x.iso' startupPolicy='optional'/>"],
    ["<source file='/x.iso'><seclabel model='selinux' labelskip='yes'/></source>"],
    ["<source file='/x.iso'><seclabel model='dac' relabel='yes'><label>+107:+107</label></seclabel></source>"],
  ])('is read of a medium: %s', (source) => expect(refusalsOf(medium('cdrom', source))).toEqual([]));

  it.each([
    [
      medium('disk', "<source file='/x' startupPolicy='optional'/>"),
      {},
      '/disk/source/@startupPolicy a disk that is optional is not supported',
    ],
    [
      medium('disk', "<source file='/x'><seclabel relabel='no'><label>a</label></seclabel></source>"),
      {},
      '/disk/source/seclabel/label what is not relabelled gets no label',
    ],
    [
      medium('disk', "<source file='/x'><seclabel model='dac' relabel='yes'/></source>"),
      { more: "<seclabel type='none' model='dac'/>" },
      "/disk/source/seclabel the domain's label of dac relabels nothing",
    ],
    ['', { more: vcpus('yes', 'no'), vcpus: 2 }, '/domain/vcpus/vcpu[2] vCPU 1 is off, and <vcpu> begins with 2'],
    [
      '',
      { more: `<vcpus>${"<vcpu id='0' enabled='yes'/>".repeat(2)}</vcpus>` },
      '/domain/vcpus/vcpu[2] vCPU 0 is given twice',
    ],
    ['', { more: '<cpu><vendor>Intel</vendor></cpu>' }, '/domain/cpu/vendor it is of no model'],
    ['', { more: "<clock><timer name='platform'/></clock>" }, '/domain/clock/timer/@name "platform" is not supported'],
  ])('is refused where it would mean something: %s %j', (devices, extra, problem) => {
    expect(refusalsOf(devices, extra)).toEqual([problem]);
  });

  it('is flash beside a variable store, which the guest does not write to', () => {
    const { os } = read(
      `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='q35'>hvm</type>
        <loader>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/x.fd</nvram></os><features><acpi/></features></domain>`,
    ).document;
    expect(os.loader).toMatchObject({ type: 'pflash', readonly: true, format: 'raw' });
  });

  it('keeps the labels of images below the first', () => {
    const store = `<backingStore type='file'><format type='raw'/><source file='/y'><seclabel model='dac' relabel='no'/></source></backingStore>`;
    const domain = read(
      `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='q35'>hvm</type></os><devices>
        <disk><driver type='qcow2'/><source file='/x'/>${store}<target dev='sda'/></disk></devices></domain>`,
    );
    expect(writeDomain(domain).replaceAll(/\n\s*/g, '')).toContain(
      "<source file='/y'><seclabel model='dac' relabel='no'/></source>",
    );
  });

  it('leaves to others the slot of a USB controller that there is not', () => {
    const none = (address: string) =>
      read(
        `<domain type='qemu'><name>a</name><memory>65536</memory><os><type machine='q35'>hvm</type></os><devices>
          <controller type='usb' index='0' model='none'>${address}</controller>
          <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface></devices></domain>`,
      ).devices.controller;
    expect(none("<address type='pci' domain='0' bus='0' slot='1' function='0'/>")).toEqual(none(''));
  });
});
