import { describe, expect, it } from '@jest/globals';
import { abiDifferences } from './abi.ts';
import { completeDomain } from './complete.ts';
import { hostWishes } from './host-wishes.ts';
import { listenNetworksOf, withListenAddresses } from './listen-networks.ts';
import { parseDomain } from './parse.ts';
import { pinningOf } from './pinning.ts';
import { qemuArguments } from './qemu/arguments.ts';
import { spiceHost } from './qemu/spice-port.ts';
import { networksOf } from './taps.ts';
import { refusalsOf } from './testing/refusals.ts';
import { writeDomain } from './write.ts';

const policy = { allowedRoots: ['/'], maxBytes: 1 << 20 };
const read = (devices: string, more = '') =>
  completeDomain(
    parseDomain(
      `<domain type='qemu'><name>a</name><uuid>1ccfd97d-5eb4-478a-bbe6-88d254c16db7</uuid><memory unit='MiB'>64</memory><vcpu>4</vcpu>${more}
        <os><type machine='pc-q35-7.2'>hvm</type></os><devices>${devices}</devices></domain>`,
      policy,
    ),
    { machineAliases: {} },
  );
const wishesOf = (devices: string, more = '') =>
  hostWishes(read(devices, more)).map(({ kind, path }) => `${kind} ${path}`);
const card = (type: string, source: string, inside: string): string =>
  `<interface type='${type}'><source ${source}/>${inside}</interface>`;

describe('what a document asks of the host', () => {
  it.each([
    ['<cputune><shares>1020</shares><period>12500</period><quota>100000</quota></cputune>', ['shares', 'quota']],
    ['<cputune><period>1000000</period><quota>-1</quota><emulator_quota>0</emulator_quota></cputune>', []],
    [
      '<cputune><global_quota>5000</global_quota><iothread_quota>5000</iothread_quota></cputune>',
      ['global_quota', 'iothread_quota'],
    ],
  ])('are limits on processors, where they bound something: %s', (more, names) => {
    expect(wishesOf('', more)).toEqual(names.map((name) => `limit /domain/cputune/${name}`));
  });

  it('is a group of others with limits of its own, unless it is libvirt’s default', () => {
    const partition = (path: string) => `<resource><partition>${path}</partition></resource>`;
    expect(wishesOf('', partition('/machine/production'))).toEqual(['limit /domain/resource/partition']);
    expect(wishesOf('', partition('/machine'))).toEqual([]);
  });

  it('are limits on memory and disks', () => {
    const more = `<blkiotune><weight>500</weight><device><path>/dev/sda</path><weight>100</weight></device></blkiotune>
      <memtune><hard_limit unit='G'>1</hard_limit><soft_limit unit='KiB'>9007199254740988</soft_limit></memtune>`;
    expect(wishesOf('', more)).toEqual([
      'limit /domain/blkiotune/weight',
      'limit /domain/blkiotune/device',
      'limit /domain/memtune/hard_limit',
    ]);
  });

  it('are ports of switches, filters and the speed of cards', () => {
    const devices = [
      card(
        'bridge',
        "bridge='ovsbr0'",
        "<virtualport type='openvswitch'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport><vlan><tag id='42'/></vlan>",
      ),
      card(
        'network',
        "network='default'",
        "<filterref filter='clean-traffic'><parameter name='IP' value='10.0.0.1'/></filterref><bandwidth><inbound average='1000'/></bandwidth>",
      ),
      card('direct', "dev='eth0' mode='bridge'", "<target dev='macvtap3'/>"),
      "<interface type='user'><bandwidth><inbound average='1000'/></bandwidth></interface>",
    ].join('');
    const at = '/domain/devices/interface';
    expect(wishesOf(devices)).toEqual([
      `network ${at}[1]/virtualport`,
      `network ${at}[1]/vlan`,
      `filter ${at}[2]/filterref`,
      `limit ${at}[2]/bandwidth`,
      `network ${at}[3]`,
    ]);
  });

  it('is written back, is no part of what the guest sees, and names of taps that libvirt made up are not kept', () => {
    const domain = read(
      card(
        'direct',
        "dev='eth0'",
        "<target dev='macvtap3'/><bandwidth><outbound average='1' peak='2' burst='3'/></bandwidth>",
      ),
    );
    expect(parseDomain(writeDomain(domain), policy)).toEqual(domain);
    expect(writeDomain(domain)).not.toContain('macvtap3');
    const other = read(card('bridge', "bridge='br0'", ''));
    const mac = (one: typeof domain) => one.devices.interface[0]?.mac?.address;
    expect(mac(other)).toBe(mac(domain));
    expect(abiDifferences(domain, other)).toEqual([]);
  });

  it.each([
    [
      card('bridge', "bridge='br0'", "<virtualport type='802.1Qbg'/>"),
      '/interface/virtualport/@type a bridge has no such ports',
    ],
    [
      "<interface type='user'><virtualport type='openvswitch'/></interface>",
      '/interface/virtualport element <virtualport> is not supported',
    ],
    [
      "<interface type='user'><filterref filter='a'/></interface>",
      '/interface/filterref element <filterref> is not supported',
    ],
  ])('is refused where libvirt has none: %s', (devices, problem) => expect(refusalsOf(devices)).toEqual([problem]));
});

describe('a display that listens where a network is', () => {
  const display =
    "<graphics type='spice' autoport='yes'><listen type='network' address='192.0.2.14' network='lan'/></graphics>";

  it('needs that network of the host, and gets the address of its bridge there', () => {
    const domain = read(display);
    expect(networksOf(domain)).toEqual([{ network: 'lan', path: '/domain/devices/graphics/listen' }]);
    const told = withListenAddresses(domain, (network) => (network === 'lan' ? '10.1.2.3' : undefined));
    expect(spiceHost(told)).toBe('10.1.2.3');
    expect(qemuArguments(told).join(' ')).toContain('addr=10.1.2.3');
    expect(listenNetworksOf(told)).toEqual([]);
    expect(writeDomain(domain)).toContain("<listen type='network' network='lan'/>");
  });
});

describe('the class in which threads are scheduled', () => {
  it('is for each that is named', () => {
    const tuned = `<iothreads>2</iothreads><cputune><vcpusched vcpus='0-1' scheduler='rr' priority='5'/><vcpusched vcpus='3' scheduler='batch' priority='7'/>
      <iothreadsched iothreads='2' scheduler='idle'/><emulatorsched scheduler='fifo' priority='1'/></cputune>`;
    const { vcpus, iothreads, emulatorScheduling } = pinningOf(read('', tuned));
    const rr = { scheduler: 'rr', priority: 5 };
    expect(vcpus.map(({ scheduling }) => scheduling)).toEqual([rr, rr, undefined, { scheduler: 'batch' }]);
    expect(iothreads.map(({ scheduling }) => scheduling)).toEqual([undefined, { scheduler: 'idle' }]);
    expect(emulatorScheduling).toEqual({ scheduler: 'fifo', priority: 1 });
  });

  it('has a priority where it is a real-time one', () => {
    const more = "<cputune><vcpusched vcpus='0' scheduler='fifo'/></cputune>";
    expect(refusalsOf('', { more })).toEqual(['/domain/cputune/vcpusched attribute priority is missing']);
  });
});
