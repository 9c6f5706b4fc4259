import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { abiDifferences } from './abi.ts';
import { completeDomain } from './complete.ts';
import type { Domain } from './domain.ts';
import { parseDomain } from './parse.ts';

const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
const xml = readFileSync(join(import.meta.dirname, 'testing/documents/web-server.out.xml'), 'utf8');
const read = (text: string): Domain => completeDomain(parseDomain(text, policy), { machineAliases: {} });
const domain = read(xml);

const ownTap = "<interface type='ethernet'>\n      <target dev='tap0' managed='no'/>";

/** Where the guest would notice that a text of the document was replaced. */
function differencesWith(from: string, to: string): string[] {
  expect(xml).toContain(from);
  return abiDifferences(domain, read(xml.replace(from, to))).map(({ path }) => path);
}

describe('two documents', () => {
  it('are the same machine if they are the same document', () => expect(abiDifferences(domain, read(xml))).toEqual([]));

  it.each([
    ['the path of an image', '/var/lib/ferry/web-1.qcow2', '/srv/images/web-1.qcow2'],
    [
      'where an image is',
      "<disk type='block' device='disk'>\n      <source dev='/dev/mapper/data'/>",
      "<disk type='file' device='disk'>\n      <source file='/var/lib/ferry/data'/>",
    ],
    ['how an image is cached', "cache='none' io='native'", "cache='writeback'"],
    ['the name of a tap', "dev='tap0'", "dev='tap7'"],
    ['what a card is plugged into', ownTap, "<interface type='bridge'><source bridge='br0'/>"],
    [
      'the network that a card is plugged into',
      ownTap,
      "<interface type='network' trustGuestRxFilters='no'><source network='lan' portgroup='guests'/><port isolated='yes'/><tune><sndbuf>0</sndbuf></tune>",
    ],
    ['the port of a display', "<listen type='socket' socket='/run/ferry/web-1.vnc'/>", "<listen type='none'/>"],
    ['where a console goes', '/run/ferry/web-1.console', '/run/ferry/other.console'],
    ['a title', 'The shop', 'My shop'],
    ['what happens at a reboot', '<on_reboot>restart', '<on_reboot>destroy'],
    ['an alias', "<alias name='net0'/>", "<alias name='ua-front'/>"],
  ])('may differ in %s', (_, from, to) => expect(differencesWith(from, to)).toEqual([]));

  it.each([
    ['memory', "cpus='0-1' memory='524288'", "cpus='0-1' memory='1048576'", '/domain/memory'],
    ['a machine', 'pc-q35-7.2', 'pc-q35-7.1', '/domain/os/type/@machine'],
    ['a CPU model', 'Nehalem', 'Westmere', '/domain/cpu/model'],
    ['a CPU feature', "policy='disable' name='vmx'", "policy='disable' name='svm'", '/domain/cpu/feature/@name'],
    ['a MAC address', '52:54:00:00:00:01', '52:54:00:00:00:99', '/domain/devices/interface/mac/@address'],
    [
      'a card',
      "<model type='virtio'/>\n      <driver queues='4'/>\n      <mtu size='9000'/>",
      "<model type='e1000'/>",
      '/domain/devices/interface/model/@type',
    ],
    ['the number of queues', "driver queues='4'", "driver queues='2'", '/domain/devices/interface/driver/@queues'],
    ['a PCI address', "bus='0x06' slot='0x00'", "bus='0x09' slot='0x00'", '/domain/devices/disk[1]/address/@bus'],
    ['a serial number', 'WD-7', 'WD-8', '/domain/devices/disk[1]/serial'],
    ['a device more', '</devices>', "<hub type='usb'/></devices>", '/domain/devices/hub'],
  ])('differ in %s', (_, from, to, path) => {
    const found = differencesWith(from, to);
    expect(found).toContain(path);
  });
});
