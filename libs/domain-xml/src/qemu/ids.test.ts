import { expect, it } from '@jest/globals';
import { completeDomain } from '../complete.ts';
import { parseDomain } from '../parse.ts';
import { devicesOf, withDirectory } from '../testing/real-qemu.ts';
import { forThisMachine } from '../testing/this-machine.ts';
import { qemuArguments } from './arguments.ts';
import { idOf } from './json.ts';

/** A device of each kind that has a backend, an object or a bus of its own. */
const devices: readonly (readonly [string, string])[] = [
  [
    "disk type='file'",
    "<source file='/tmp/a'/><target dev='sda' bus='scsi'/><iotune><total_iops_sec>9</total_iops_sec></iotune>",
  ],
  ["controller type='scsi' index='0' model='virtio-scsi'", ''],
  ["controller type='virtio-serial' index='0'", ''],
  ["controller type='usb' index='0' model='qemu-xhci'", ''],
  ["controller type='pci' index='1' model='pcie-root-port'", ''],
  ["interface type='user'", "<model type='virtio'/>"],
  ["serial type='pty'", ''],
  ["channel type='pty'", "<target type='virtio' name='a'/>"],
  ["console type='pty'", "<target type='virtio'/>"],
  ["input type='tablet' bus='usb'", ''],
  ["hub type='usb'", ''],
  ["sound model='ich9'", ''],
  ['video', "<model type='virtio'/>"],
  ["redirdev bus='usb' type='pty'", ''],
  ["watchdog model='i6300esb'", ''],
  ["memballoon model='virtio'", ''],
  ["rng model='virtio'", "<backend model='random'>/dev/urandom</backend>"],
  ["panic model='isa'", ''],
  ["crypto model='virtio' type='qemu'", "<backend model='builtin' queues='1'/>"],
];

const domainWith = (alias: (i: number) => string) => {
  const inside = devices.map(([start, rest], i) => {
    const [name = ''] = start.split(' ');
    return `<${start}>${rest}<alias name='${alias(i)}'/></${name}>`;
  });
  const xml = `<domain type='qemu'><name>web-1</name><memory unit='MiB'>64</memory><os><type machine='pc-q35-7.2'>hvm</type></os>
    <features><acpi/></features><devices>${inside.join('')}</devices></domain>`;
  return completeDomain(parseDomain(xml, { allowedRoots: ['/'], maxBytes: 1 << 20 }), { machineAliases: {} });
};

const longest = (i: number): string => `ua-${'x'.repeat(1000)}-${i}`;

it('QEMU takes aliases that are as long as people make them, of every kind of device', async () => {
  const domain = domainWith(longest);
  await withDirectory(async (directory) => {
    const found = await devicesOf(forThisMachine(qemuArguments(domain, directory), directory), directory);
    expect(Object.keys(found)).toContain(idOf(domain.devices.interface[0] ?? {}));
    expect(Object.keys(found).every((id) => id.length <= 120)).toBe(true);
  });
});

it('a socket that the document leaves to the host has a path that fits', () => {
  const port = `<serial type='unix'><alias name='${longest(0)}'/></serial>`;
  const xml = `<domain type='qemu'><name>a</name><memory>65536</memory><os><type>hvm</type></os><devices>${port}</devices></domain>`;
  const domain = completeDomain(parseDomain(xml, { allowedRoots: ['/'], maxBytes: 1 << 20 }), { machineAliases: {} });
  const path = /path=([^,]*)/.exec(qemuArguments(domain).join(' '))?.[1] ?? '';
  expect(path).toMatch(/\/n[0-9a-f]{23}\.sock$/);
  expect(path.length).toBeLessThanOrEqual(107);
});

it.each(['', 'a b', 'ua-ü', 'ua-a:b', 'net0,driver=x', '-x', 'ua-a/b'])(
  'an alias that libvirt would not keep is generated again: %j',
  (alias) => {
    const domain = domainWith(() => alias);
    expect(domain.devices.disk[0]?.alias).toEqual({ name: 'scsi0-0-0' });
    expect(JSON.stringify(qemuArguments(domain))).not.toContain(alias === '' ? '"id":""' : `"${alias}"`);
  },
);
