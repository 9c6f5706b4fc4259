import { describe, expect, it } from '@jest/globals';
import { DomainXmlError } from './errors.ts';
import { parseDomain } from './parse.ts';
import { writeDomain } from './write.ts';

const policy = { allowedRoots: ['/var/lib/libvirt/images'], maxBytes: 1 << 20 };

/** A small domain, with more in it. */
const guest = (devices = '', more = '') => `<domain type='qemu'>
  <name>web-1</name>
  <uuid>1ccfd97d-5eb4-478a-bbe6-88d254c16db7</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>${more}
  <devices>${devices}</devices>
</domain>`;

/** What is wrong with a document, as `path:line what`. */
function refusalOf(xml: string, limits = policy): { kind: string; problems: string[] } {
  try {
    parseDomain(xml, limits);
  } catch (error) {
    if (!(error instanceof DomainXmlError)) throw error;
    return { kind: error.kind, problems: error.problems.map((p) => `${p.path}:${p.line} ${p.what}`) };
  }
  throw new Error('the document was accepted');
}

describe('a document that is read', () => {
  it('has its values in units', () => {
    const domain = parseDomain(guest(), policy);
    expect(domain).toMatchObject({ name: 'web-1', vcpus: 1, memoryBytes: 64 * 1024 * 1024, machine: 'pc-q35-7.2' });
  });

  it.each([
    ["<memory unit='GiB'>1</memory>", 1024 ** 3],
    ["<memory unit='MB'>100</memory>", 96 * 1024 ** 2],
    ["<memory unit='b'>1048577</memory>", 2 * 1024 ** 2],
    ['<memory>2048</memory>', 2 * 1024 ** 2],
  ])('gives a guest whole MiB: %s', (memory, bytes) => {
    expect(parseDomain(guest().replace(/<memory.*<\/memory>/, memory), policy).memoryBytes).toBe(bytes);
  });

  it.each([
    'we\u200Bb',
    'gpj\u202E.exe',
    'a\u2028b',
    '1ccfd97d-5eb4-478a-bbe6-88d254c16db7',
    '1CCFD97D-5EB4-478A-BBE6-88D254C16DB7',
    'a/b',
  ])('has no name that people would read for something else: %j', (name) => {
    const { kind, problems } = refusalOf(guest().replace('web-1', name));
    expect({ kind, problems }).toEqual({
      kind: 'xml-invalid',
      problems: [expect.stringMatching(/^\/domain\/name:2 /)],
    });
  });

  it('counts the memory of SMM in MiB where no unit is given', () => {
    const { features } = parseDomain(guest('', '<features><smm><tseg>48</tseg></smm></features>'), policy).document;
    expect(features?.smm?.tseg).toBe(48 * 1024);
  });

  it('has the UUID of its board if it has none itself', () => {
    const board =
      "<sysinfo type='smbios'><system><entry name='uuid'>4B1F2A6E97C54A0E8F4F0D8A1C2B3E4F</entry></system></sysinfo>";
    const xml = guest('', board).replace(/<uuid>.*<\/uuid>/, '');
    expect(parseDomain(xml, policy).uuid).toBe('4b1f2a6e-97c5-4a0e-8f4f-0d8a1c2b3e4f');
  });

  it('knows models of cards however they are written', () => {
    const { interface: cards } = parseDomain(guest("<interface type='user'><model type='ViRtIo'/></interface>"), policy)
      .document.devices;
    expect(cards[0]?.model?.type).toBe('virtio');
  });

  it('takes -1 in a filter of USB devices for anything', () => {
    const rule = "<usbdev class='-1' vendor='0x15E1' product='-1' version='-1' allow='no'/>";
    const { redirfilter } = parseDomain(guest(`<redirfilter>${rule}</redirfilter>`), policy).document.devices;
    expect(redirfilter?.usbdev).toEqual([{ vendor: 0x15e1, allow: false }]);
  });

  it('gets a UUID if it has none', () => {
    expect(parseDomain(guest().replace(/<uuid>.*<\/uuid>/, ''), policy).uuid).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('keeps metadata and foreign elements byte for byte', () => {
    const metadata = `<metadata>\r\n<!-- > --><a:b xmlns:a="u"  c = '&#65;"' ><![CDATA[</metadata>]]></a:b ><f:x/></metadata  >`;
    const foreign = `<f:note level="1">&amp;</f:note>`;
    const xml = guest('', metadata + foreign).replace('<domain ', "<domain xmlns:f='http://example.org/f' ");
    const domain = parseDomain(xml, policy);
    const written = writeDomain(domain);
    expect(written).toContain(metadata);
    expect(written).toContain(foreign);
    expect(parseDomain(written, policy)).toEqual(domain);
  });
});

describe("QEMU's own arguments", () => {
  const xml = (inner: string) =>
    guest('', `<q:commandline>${inner}</q:commandline>`).replace(
      '<domain ',
      "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0' ",
    );
  const arg = "<q:arg value='-global'/><q:arg value='virtio-pci.x=1,y'/>";
  const open = { ...policy, addedArguments: 'allow' as const };

  it('are added where the configuration allows it, and written back', () => {
    const domain = parseDomain(xml(arg), open);
    expect(domain.kept.qemuArguments).toEqual(['-global', 'virtio-pci.x=1,y']);
    expect(parseDomain(writeDomain(domain), open)).toEqual(domain);
  });

  it('are refused otherwise', () => expect(refusalOf(xml(arg)).kind).toBe('xml-unsupported'));

  it('are arguments and nothing else', () => {
    expect(refusalOf(xml("<q:env name='LD_PRELOAD' value='/x.so'/>"), open).problems).toEqual([
      '/domain/qemu:commandline/qemu:env:6 it is not <qemu:arg value=…>',
    ]);
  });
});

const booted = (dev: string, order: number) =>
  `<disk><source file='/var/lib/libvirt/images/${dev}'/><target dev='${dev}'/><boot order='${order}'/></disk>`;
const placed = (dev: string, address: string) =>
  `<disk><source file='/var/lib/libvirt/images/${dev}'/><target dev='${dev}' bus='sata'/>${address}</disk>`;
const limited = (dev: string, limit: number) =>
  `<disk><source file='/var/lib/libvirt/images/${dev}'/><target dev='${dev}'/><iotune><total_bytes_sec>${limit}</total_bytes_sec><group_name>g</group_name></iotune></disk>`;

describe('a document that is refused', () => {
  it.each([
    ['is empty', '', 'is empty'],
    ['ends early', '<domain>', 'not well-formed'],
    ['has an unknown entity', '<domain>&lol;</domain>', 'not well-formed'],
    ['has a DTD', '<!DOCTYPE domain [<!ENTITY a "b">]><domain/>', 'DOCTYPE'],
    ['reads a file', '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d>&x;</d>', 'DOCTYPE'],
    ['has an attribute twice', "<domain type='qemu' type='kvm'/>", 'not well-formed'],
    ['is nested too deep', '<a>'.repeat(70) + '</a>'.repeat(70), 'deep'],
    ['is nested far too deep', '<a>'.repeat(5000) + '</a>'.repeat(5000), 'not well-formed'],
    ['has too many elements', `<domain>${'<a/>'.repeat(20_001)}</domain>`, 'more than 20000 elements'],
    ['has a NUL', '<domain>\0</domain>', 'not well-formed'],
  ])('because it %s', (_, xml, what) => {
    const { kind, problems } = refusalOf(xml);
    expect(kind).toBe('xml-malformed');
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(what);
  });

  it('because it is too large, before it is parsed', () => {
    const refusal = refusalOf('<'.repeat(65), { ...policy, maxBytes: 64 });
    expect(refusal).toEqual({ kind: 'xml-malformed', problems: ['/:0 the document is 65 bytes long'] });
  });

  it('because it is something else', () => {
    expect(refusalOf('<network/>')).toEqual({
      kind: 'xml-invalid',
      problems: ['/network:1 the document is a <network>'],
    });
  });

  it('with every element and attribute that is not supported', () => {
    const xml = guest(
      `
      <hostdev mode='subsystem' type='pci'/>
      <disk type='file' rawio='yes'>
        <source file='/var/lib/libvirt/images/a'/><target dev='vda'/>
      </disk>
      <disk type='nfs'/>`,
      `<perf/><q:commandline xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0"><q:arg value="-S"/></q:commandline>`,
    );
    expect(refusalOf(xml)).toEqual({
      kind: 'xml-unsupported',
      problems: [
        '/domain/perf:6 element <perf> is not supported',
        '/domain/{http://libvirt.org/schemas/domain/qemu/1.0}commandline:6 element <{http://libvirt.org/schemas/domain/qemu/1.0}commandline> is not supported',
        '/domain/devices/hostdev:8 element <hostdev> is not supported',
        '/domain/devices/disk[1]/@rawio:9 attribute rawio is not supported',
        '/domain/devices/disk[2]/@type:12 "nfs" is not supported',
      ],
    });
  });

  it('with what hides behind something else that is wrong, numbered as in the document', () => {
    const devices = `<hostdev mode='subsystem' type='pci'/>
      <disk type='volume'/>
      <disk type='file'><source file='/var/lib/libvirt/images/a'/><target dev='hda' bus='ide'/></disk>`;
    expect(refusalOf(guest(devices))).toEqual({
      kind: 'xml-unsupported',
      problems: [
        '/domain/devices/hostdev:7 element <hostdev> is not supported',
        '/domain/devices/disk[1]/@type:8 "volume" is not supported',
        '/domain/devices/disk[2]/target/@bus:9 a q35 machine has no IDE',
      ],
    });
  });

  it.each(['a\nb', '../a', '', '   ', 'a/b', 'x'.repeat(129), 'a\u0085', 'a\tb'])('for its name %j', (name) => {
    const { kind, problems } = refusalOf(guest().replace('web-1', name));
    expect(kind).toBe('xml-invalid');
    expect(problems[0]).toContain('/domain/name:2 ');
  });

  it.each([
    '/etc/shadow',
    'a.qcow2',
    '/var/lib/libvirt/images/../a',
    '/var/lib/libvirt/images/a&#10;b',
    '/var/lib/libvirt/imagesx/a',
    '/var/lib/libvirt/images',
  ])('for a disk at %s', (file) => {
    const { kind, problems } = refusalOf(guest(`<disk type='file'><source file='${file}'/><target dev='vda'/></disk>`));
    expect(kind).toBe('xml-invalid');
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('/domain/devices/disk/source/@file:7 ');
  });

  it('for what does not fit together', () => {
    const disk = (dev: string) =>
      `<disk type='file'><source file='/var/lib/libvirt/images/${dev}'/><target dev='${dev}'/></disk>`;
    const cpu = "<cpu><model>qemu64</model><topology sockets='2' cores='2' threads='1'/></cpu>";
    const { kind, problems } = refusalOf(
      guest(disk('vda') + disk('vda'), `<maxMemory slots='1'>65535</maxMemory>${cpu}`),
    );
    expect(kind).toBe('xml-invalid');
    expect(problems).toEqual([
      '/domain/maxMemory:6 it is less than <memory>',
      '/domain/maxMemory:6 there is no room for a module above <memory>',
      '/domain/cpu/topology:6 the topology has places for 4 vCPUs, <vcpu> says 1',
      '/domain/devices/disk[2]/target/@dev:7 two disks are called vda',
    ]);
  });

  it.each([
    ['no memory', guest().replace(/<memory.*<\/memory>/, ''), '/domain:1 element <memory> is missing'],
    [
      'pages for a node that it has not',
      guest('', "<memoryBacking><hugepages><page size='2048' nodeset='1'/></hugepages></memoryBacking>"),
      '/domain/memoryBacking/hugepages/page/@nodeset:6 the guest has no node 1',
    ],
    [
      'two UUIDs',
      guest(
        '',
        "<sysinfo type='smbios'><system><entry name='uuid'>4b1f2a6e-97c5-4a0e-8f4f-0d8a1c2b3e40</entry></system></sysinfo>",
      )
        .replace('</name>', '</name><uuid>4b1f2a6e-97c5-4a0e-8f4f-0d8a1c2b3e4f</uuid>')
        .replace(/(<\/uuid>)[^]*<uuid>.*<\/uuid>/, '$1'),
      '/domain/sysinfo/system:5 its uuid is not that of the domain',
    ],
    [
      'a board whose UUID is none',
      guest('', "<sysinfo type='smbios'><system><entry name='uuid'>x</entry></system></sysinfo>"),
      '/domain/sysinfo/system:6 its uuid x is none',
    ],
    [
      'two devices of one boot order',
      guest(`${booted('vda', 1)}${booted('vdb', 1)}`),
      '/domain/devices/disk[2]/boot/@order:7 two devices have boot order 1',
    ],
    [
      'a mouse where there is no USB',
      guest("<controller type='usb' model='none'/><input type='mouse' bus='usb'/>"),
      '/domain/devices/input:7 USB is switched off',
    ],
    [
      'a channel that SPICE does not serve',
      guest("<graphics type='spice'/><channel type='spicevmc'><target type='virtio' name='x'/></channel>"),
      '/domain/devices/channel/target/@name:7 SPICE has nothing called x',
    ],
    [
      'two sets of limits in a group',
      guest(`${limited('vda', 1)}${limited('vdb', 2)}`),
      '/domain/devices/disk[2]/iotune/group_name:7 another disk of group g has other limits',
    ],
    [
      'a feature with two policies',
      guest('', "<cpu><model>qemu64</model><feature name='svm'/><feature name='svm' policy='disable'/></cpu>"),
      '/domain/cpu/feature[2]/@name:6 svm is given twice',
    ],
    [
      'more vCPUs than ordinary interrupts reach',
      guest().replace('<vcpu>1</vcpu>', '<vcpu>256</vcpu>'),
      '/domain/vcpu:5 more than 255 vCPUs need extended interrupts',
    ],
    [
      'limits on all and on each',
      guest(
        "<disk><source file='/var/lib/libvirt/images/a'/><target dev='vda'/><iotune><total_iops_sec>3</total_iops_sec><read_iops_sec>1</read_iops_sec></iotune></disk>",
      ),
      '/domain/devices/disk/iotune/total_iops_sec:7 reading and writing have limits of their own',
    ],
    [
      'a size of operations that nobody counts',
      guest(
        "<disk><source file='/var/lib/libvirt/images/a'/><target dev='vda'/><iotune><size_iops_sec>3</size_iops_sec></iotune></disk>",
      ),
      '/domain/devices/disk/iotune/size_iops_sec:7 no operations are counted',
    ],
    [
      'two drives in one place',
      guest(`${placed('sda', '')}${placed('sdb', "<address type='drive' unit='0'/>")}`),
      '/domain/devices/disk[2]/address:7 another disk is in this place',
    ],
    [
      'a drive in the place of another name',
      guest(`${placed('sda', "<address type='drive' unit='1'/>")}${placed('sdb', '')}`),
      '/domain/devices/disk[2]/target/@dev:7 another disk is in this place',
    ],
    [
      'the caches of a host that it is not on',
      guest('', "<cpu><model>qemu64</model><cache mode='passthrough'/></cpu>"),
      '/domain/cpu/cache/@mode:6 this CPU has not the caches of the host',
    ],
    [
      'a cache that QEMU has not',
      guest('', "<cpu><model>qemu64</model><cache mode='emulate'/></cpu>"),
      '/domain/cpu/cache:6 QEMU emulates a cache of level 3 alone',
    ],
    [
      'two channels of one name',
      guest("<channel type='pty'><target type='virtio' name='a'/></channel>".repeat(2)),
      '/domain/devices/channel[2]/target:7 two channels are called a',
    ],
    [
      'five serial ports',
      guest("<serial type='pty'/>".repeat(5)),
      '/domain/devices/serial[5]:7 there are four serial ports on ISA',
    ],
    [
      'a companion of no USB 2 controller',
      guest(
        "<controller type='usb' index='0' model='qemu-xhci'/><controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>",
      ),
      '/domain/devices/controller[2]:7 a companion needs its USB 2 controller',
    ],
    [
      'a floppy on a controller that is not there',
      guest("<disk device='floppy'><source file='/var/lib/libvirt/images/a'/><target dev='fdc'/></disk>"),
      '/domain/devices/disk/target/@dev:7 a machine has one floppy controller',
    ],
    [
      'two smart cards',
      guest("<graphics type='spice'/>" + "<smartcard mode='passthrough' type='spicevmc'/>".repeat(2)),
      '/domain/devices/smartcard[2]:7 QEMU has one reader, for one card',
    ],
    [
      'a port of another bus',
      guest("<channel type='pty'><target type='virtio'/><address type='virtio-serial' bus='2' port='1'/></channel>"),
      '/domain/devices/channel/address/@bus:7 there is no bus 2',
    ],
    [
      'an ACPI table whose name ends early',
      guest().replace('</os>', "<acpi><table type='slic'>/var/lib/libvirt/images/a:b</table></acpi></os>"),
      '/domain/os/acpi/table:6 QEMU takes a colon for the end of it',
    ],
    [
      'a VNC display below its ports',
      guest("<graphics type='vnc' port='80'/>"),
      '/domain/devices/graphics/@port:7 ports of VNC begin with 5900',
    ],
    [
      'a floppy with a number',
      guest(
        "<disk device='floppy'><source file='/var/lib/libvirt/images/a'/><target dev='fda'/><serial>1</serial></disk>",
      ),
      '/domain/devices/disk/serial:7 a disk on fdc has no serial',
    ],
    [
      'two that are stdio',
      guest("<serial type='stdio'/><parallel type='stdio'/>"),
      '/domain/devices/parallel/@type:7 something else has stdio',
    ],
    [
      'a secure channel without a port',
      guest("<graphics type='spice'><channel name='main' mode='secure'/></graphics>"),
      '/domain/devices/graphics/channel/@mode:7 it is to be secure, and there is no tlsPort',
    ],
    [
      'a disk that may be missing',
      guest("<disk><source file='/var/lib/libvirt/images/a' startupPolicy='optional'/><target dev='vda'/></disk>"),
      '/domain/devices/disk/source/@startupPolicy:7 a disk that is optional is not supported',
    ],
    [
      'a tap of a network that Ferry would not plug in',
      guest("<interface type='network'><source network='a'/><target dev='tap0' managed='no'/></interface>"),
      '/domain/devices/interface/target/@managed:7 a tap that is there already is not plugged in',
    ],
    [
      'a tap of a bridge that Ferry would not plug in',
      guest("<interface type='bridge'><source bridge='a'/><target dev='tap0' managed='no'/></interface>"),
      '/domain/devices/interface/target/@managed:7 a tap that is there already is not plugged in',
    ],
    [
      'an MTU that nobody would be told',
      guest("<interface type='user'><model type='e1000'/><mtu size='1400'/></interface>"),
      '/domain/devices/interface/mtu:7 only a virtio card is told its MTU',
    ],
    [
      'an MTU that nobody would be told, for the tap is there already',
      guest(
        "<interface type='ethernet'><target dev='tap0' managed='no'/><model type='e1000'/><mtu size='1400'/></interface>",
      ),
      '/domain/devices/interface/mtu:7 only a virtio card is told its MTU',
    ],
    [
      'a port of no bridge',
      guest("<interface type='ethernet'><port isolated='no'/></interface>"),
      '/domain/devices/interface/port:7 element <port> is not supported',
    ],
    [
      'a network without a name',
      guest("<interface type='network'><source bridge='virbr0'/></interface>"),
      '/domain/devices/interface/source:7 attribute network is missing',
    ],
  ])('for %s', (_, xml, problem) => expect(refusalOf(xml).problems).toEqual([problem]));

  it('for all of a network that Ferry cannot honour, each by its name', () => {
    const unsupported = [
      "<coalesce><rx><frames max='7'/></rx></coalesce>",
      "<teaming type='persistent'/>",
      "<script path='/etc/qemu-ifup'/>",
      "<ip address='10.0.0.1'/>",
      "<guest dev='eth0'/>",
    ];
    const words = ["trustGuestRxFilters='yes'", "<backend type='passt' tap='/dev/tun' vhost='/dev/vhost'/>"];
    const xml = `<interface type='network' ${words[0]}><source network='a'/>${unsupported.join('')}${words[1]}</interface>`;
    const at = '/domain/devices/interface';
    expect(refusalOf(guest(xml)).problems.toSorted()).toEqual(
      [
        ...unsupported
          .map((one) => /^<(\w+)/.exec(one)?.[1])
          .map((name) => `${at}/${name}:7 element <${name}> is not supported`),
        `${at}/@trustGuestRxFilters:7 "yes" is not supported`,
        `${at}/backend/@type:7 attribute type is not supported`,
        `${at}/backend/@tap:7 "/dev/tun" is not supported`,
        `${at}/backend/@vhost:7 "/dev/vhost" is not supported`,
      ].toSorted(),
    );
  });

  it('without listing more problems than anyone reads', () => {
    expect(refusalOf(guest('<x/>'.repeat(1000))).problems).toHaveLength(256);
  });
});
