import { describe, expect, it } from '@jest/globals';
import { completeDomain } from './complete.ts';
import type { Domain } from './domain.ts';
import { parseDomain } from './parse.ts';
import { networksOf, tapsToPlugIn } from './taps.ts';

const read = (devices: string): Domain =>
  completeDomain(
    parseDomain(
      `<domain type='qemu'><name>a</name><memory unit='MiB'>16</memory><os><type machine='pc-q35-7.2'>hvm</type></os>
       <devices>${devices}</devices></domain>`,
      { allowedRoots: ['/'], maxBytes: 1 << 20 },
    ),
    { machineAliases: {} },
  );
const card = (type: string, parts: string): string =>
  `<interface type='${type}'><mac address='52:54:00:00:00:01'/><model type='virtio'/>${parts}</interface>`;
const pluggedIn = (xml: string, networks: Record<string, string> = {}) =>
  tapsToPlugIn(read(xml), '/run/a', new Map(Object.entries(networks)));

const tap = { name: 'ferry7b81a0776', address: 'fe:54:00:00:00:01' };

describe('a tap is plugged in', () => {
  it('where its network is on this host', () => {
    const xml = card('network', "<source network='lan'/>");
    expect(pluggedIn(xml, { lan: 'br1', 'lan/guests': 'br2' })).toEqual([{ ...tap, bridge: 'br1' }]);
    expect(pluggedIn(xml, { lan: 'virbr7' })).toEqual([{ ...tap, bridge: 'virbr7' }]);
  });

  it('where its port group is, which is not where its network is', () => {
    const xml = card('network', "<source network='lan' portgroup='guests'/>");
    expect(pluggedIn(xml, { lan: 'br1', 'lan/guests': 'br2' })).toEqual([{ ...tap, bridge: 'br2' }]);
    expect(() => pluggedIn(xml, { lan: 'br1' })).toThrow('bridge of network lan/guests');
  });

  it('alone or not, and with its MTU, on a bridge as in a network', () => {
    const parts = "<port isolated='yes'/><mtu size='1400'/>";
    const all = { ...tap, bridge: 'br1', isolated: true, mtu: 1400 };
    expect(pluggedIn(card('bridge', `<source bridge='br1'/>${parts}`))).toEqual([all]);
    expect(pluggedIn(card('network', `<source network='lan'/>${parts}`), { lan: 'br1' })).toEqual([all]);
    expect(pluggedIn(card('bridge', "<source bridge='br1'/><port isolated='no'/>"))).toEqual([
      { ...tap, bridge: 'br1' },
    ]);
  });

  it('with an MTU, whatever the card is', () => {
    const e1000 = card('network', "<source network='lan'/><mtu size='9000'/>").replace('virtio', 'e1000');
    expect(pluggedIn(e1000, { lan: 'br1' })).toEqual([{ ...tap, bridge: 'br1', mtu: 9000 }]);
  });

  it('nowhere, if it is on no bridge; and is left alone if it was there before', () => {
    expect(pluggedIn(card('ethernet', ''))).toEqual([tap]);
    expect(pluggedIn(card('ethernet', "<target dev='tap7' managed='no'/>"))).toEqual([]);
  });
});

describe('the networks of a domain', () => {
  it('are named with the place of each in the document', () => {
    const lan = card('network', "<source network='lan'/>");
    const guests = card('network', "<source network='lan' portgroup='guests'/>").replace('00:01', '00:02');
    expect(networksOf(read(lan))).toEqual([{ network: 'lan', path: '/domain/devices/interface/source' }]);
    expect(networksOf(read(card('user', '').replace('00:01', '00:03') + lan + guests))).toEqual([
      { network: 'lan', path: '/domain/devices/interface[2]/source' },
      { network: 'lan/guests', path: '/domain/devices/interface[3]/source' },
    ]);
  });

  it.each(['a/b', 'a,b', ''])('are not called %j, as no host could say where that is', (name) => {
    expect(() => read(card('network', `<source network='${name}'/>`))).toThrow(/interface\/source\/@network/);
  });
});
