import type { Fields, Of } from '../codec/element.ts';
import { choice, element, type Report, textElement } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  child,
  children,
  hostSide,
  optionalAttribute,
  optionalChild,
} from '../codec/fields.ts';
import { hex, integer, macAddress, oneOf, path, pattern, uuid } from '../codec/scalar.ts';
import { pciAddress } from './address.ts';
import { hostName, ipv4, reconnect } from './chardev.ts';
import { acpiIndex, alias, boot, onOff, virtioModels, virtioOptions, yesNo } from './common.ts';

const deviceName = pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/, 'a network device name of at most 15 characters', [
  'tap0',
]);
/** A comma ends a network in FERRY_NETWORKS, a slash its name there. */
export const networkName = pattern(
  /^[^\p{Cc}\p{Cs}/,]{1,127}$/u,
  "a network's name without / , and control characters",
  ['default', 'nat-network;plug'],
);
const portGroup = pattern(/^[^\p{Cc}\p{Cs},]{1,127}$/u, "a port group's name without , and control characters", [
  'bob',
]);
const ipv6 = pattern(/^[0-9a-fA-F:]{2,39}$/, 'an IPv6 address', ['fec0::']);
/** One that libvirt has made up is generated again (withoutGeneratedTap). */
const tapDevice = { ...deviceName, accepts: `${deviceName.accepts}; vnet0, macvtap0 and so on: as if it were absent` };
/** The tap that it is plugged into; QEMU makes it, unless it is there already (`managed='no'`). */
const tap = element(
  { dev: optionalAttribute(tapDevice), managed: optionalAttribute(yesNo) },
  {
    check: ({ dev, managed }, report) => {
      if (managed === false && dev === undefined)
        report('xml-invalid', '/@managed', 'it names no network device', 'Add dev, or let QEMU make one');
    },
  },
);

/** The same of a port of a bridge, which Ferry plugs in itself: one that is there already is nobody's port (virDomainNetDefValidate). */
const portTap = element(
  { dev: optionalAttribute(tapDevice), managed: optionalAttribute(yesNo) },
  {
    check: ({ managed }, report) => {
      if (managed === false)
        report('xml-invalid', '/@managed', 'a tap that is there already is not plugged in', "Use type='ethernet'");
    },
  },
);

/** What a virtio card leaves to the other end: on unless it is said (qemuBuildNicDevProps). */
const offloads = {
  csum: optionalAttribute(onOff),
  tso4: optionalAttribute(onOff),
  tso6: optionalAttribute(onOff),
  ecn: optionalAttribute(onOff),
  ufo: optionalAttribute(onOff),
};
const driver = element({
  name: hostSide(optionalAttribute(oneOf('qemu', 'vhost'))),
  txmode: hostSide(optionalAttribute(oneOf('iothread', 'timer'))),
  ioeventfd: hostSide(optionalAttribute(onOff)),
  event_idx: optionalAttribute(onOff),
  queues: optionalAttribute(integer(1, 256)),
  rx_queue_size: optionalAttribute(integer(256, 1024)),
  tx_queue_size: optionalAttribute(integer(256, 1024)),
  rss: optionalAttribute(onOff),
  rss_hash_report: optionalAttribute(onOff),
  ...virtioOptions,
  host: optionalChild(element({ ...offloads, gso: optionalAttribute(onOff), mrg_rxbuf: optionalAttribute(onOff) })),
  guest: optionalChild(element(offloads)),
});

/** The firmware that the card brings for booting from the network; the guest sees its size. */
const rom = element(
  { enabled: optionalAttribute(yesNo), bar: optionalAttribute(onOff), file: hostSide(optionalAttribute(path)) },
  {
    check: ({ enabled, bar, file }, report) => {
      if (enabled === false && (bar !== undefined || file !== undefined))
        report('xml-invalid', '/@enabled', 'what is not enabled has no bar and no file', 'Leave one of them out');
    },
  },
);

const cardModels = oneOf(
  ...virtioModels,
  'e1000',
  'e1000e',
  'rtl8139',
  'ne2k_pci',
  'pcnet',
  'vmxnet3',
  'e1000-82544gc',
  'e1000-82545em',
  'i82550',
  'i82551',
  'i82557a',
  'i82557b',
  'i82557c',
  'i82558a',
  'i82558b',
  'i82559a',
  'i82559b',
  'i82559c',
  'i82559er',
  'i82562',
  'i82801',
  'tulip',
);
/** Whatever case it is written in (virDomainNetSetModelString). */
const cardModel: typeof cardModels = {
  ...cardModels,
  decode: (raw, policy) => {
    const decoded = cardModels.decode(raw.toLowerCase(), policy);
    return 'value' in decoded ? decoded : cardModels.decode(raw, policy);
  },
};

const kibytes = integer(0, 2 ** 32 - 1);
/** KiB a second, and KiB at once. */
const flow = optionalChild(
  element({
    average: optionalAttribute(kibytes),
    peak: optionalAttribute(kibytes),
    burst: optionalAttribute(kibytes),
    floor: optionalAttribute(kibytes),
  }),
);
const plainText = pattern(/^[^\p{Cc}\p{Cs}]{1,255}$/u, 'text on one line', ['clean-traffic']);

/** What passes a card is filtered on the host. */
const filterref = hostSide(
  optionalChild(
    element({
      filter: attribute(plainText),
      parameter: children(element({ name: attribute(plainText), value: attribute(plainText) })),
    }),
  ),
);

/** The port of a switch that a card is plugged into. */
const virtualport = hostSide(
  optionalChild(
    element({
      type: optionalAttribute(oneOf('openvswitch', 'midonet', '802.1Qbg', '802.1Qbh')),
      parameters: optionalChild(
        element({
          interfaceid: optionalAttribute(uuid),
          profileid: optionalAttribute(plainText),
          managerid: optionalAttribute(integer(0, 255)),
          typeid: optionalAttribute(hex(2 ** 24 - 1, 1)),
          typeidversion: optionalAttribute(integer(0, 255)),
          instanceid: optionalAttribute(uuid),
        }),
      ),
    }),
  ),
);
const vlan = hostSide(
  optionalChild(
    element({
      trunk: optionalAttribute(yesNo),
      tag: children(
        element({
          id: attribute(integer(0, 4095)),
          nativeMode: optionalAttribute(oneOf('tagged', 'untagged')),
        }),
      ),
    }),
  ),
);

const common = {
  bandwidth: hostSide(optionalChild(element({ inbound: flow, outbound: flow }))),
  mac: optionalChild(
    element(
      { address: attribute(macAddress) },
      { ignored: { '@type': 'it says how libvirt made the address up', '@check': 'it is about VMware' } },
    ),
  ),
  model: optionalChild(
    element({
      type: attribute(cardModel),
    }),
  ),
  driver: optionalChild(driver),
  link: optionalChild(element({ state: attribute(oneOf('up', 'down')) })),
  mtu: optionalChild(element({ size: attribute(integer(68, 65535)) })),
  /** Filters of the tap that follow the guest's, as Ferry has none. */
  trustGuestRxFilters: hostSide(optionalAttribute(oneOf('no'))),
  boot,
  rom: optionalChild(rom),
  acpi: acpiIndex,
  alias,
  address: optionalChild(pciAddress),
};

const options = {
  refused: {
    filterref: 'Only what passes a tap is filtered',
    script: 'Ferry runs no scripts: make the tap first and name it',
    downscript: 'Ferry runs no scripts',
    virtualport: 'Only a tap is the port of a switch',
    vlan: 'Only a tap is the port of a switch',
    coalesce: 'Set coalescing on the tap itself',
    port: 'Only a port of a bridge can be isolated',
    teaming: 'Fail-over to a host device is not supported',
    guest: 'It belongs to containers',
    portForward: 'It needs passt, which Ferry does not start',
    backend: 'Ferry starts no helpers',
    ip: 'The guest configures its own addresses',
    route: 'The guest configures its own addresses',
    backenddomain: 'It is a choice of Xen',
    tune: 'It is about taps',
  },
};
const { ip: _ip, ...userRefused } = options.refused;
const { tune: _tune, backend: _backend, filterref: _filterref, ...tapRefused } = options.refused;
const { port: _port, virtualport: _virtualport, vlan: _vlan, ...portRefused } = tapRefused;

function checkNetworks({ ip }: { readonly ip: readonly { readonly family: string }[] }, report: Report): void {
  const twice = ip.findIndex((one, i) => ip.findIndex((other) => other.family === one.family) < i);
  if (twice >= 0) report('xml-invalid', `/ip[${twice + 1}]`, 'there are two networks of one family', 'Remove one');
}

const card = <F extends Fields>(fields: F) => element({ ...fields, ...common }, options);

/** The tap that a card is plugged into, and how QEMU opens it. */
const ofTap = {
  target: hostSide(optionalChild(tap)),
  filterref,
  tune: hostSide(optionalChild(element({ sndbuf: optionalChild(textElement(integer(0, 2 ** 31 - 1))) }))),
  backend: hostSide(
    optionalChild(
      element(
        { tap: optionalAttribute(oneOf('/dev/net/tun')), vhost: optionalAttribute(oneOf('/dev/vhost-net')) },
        { refused: { '@type': 'Ferry starts no helpers', '@logFile': 'Ferry starts no helpers' } },
      ),
    ),
  ),
};

/** A card whose tap is a port of a bridge. */
const portCard = <F extends Fields>(fields: F) =>
  element(
    {
      ...fields,
      ...ofTap,
      target: hostSide(optionalChild(portTap)),
      virtualport,
      vlan,
      port: hostSide(optionalChild(element({ isolated: optionalAttribute(yesNo) }))),
      ...common,
    },
    { refused: portRefused },
  );
/** What a live document tells of libvirt's own doings, and libvirt does not read. */
const ofLibvirt = {
  '@portid': 'it is the number that libvirt gave the port',
  '@macTableManager': "it says who kept the bridge's addresses",
};

const portNumber = attribute(integer(1, 65535));
const end = { address: optionalAttribute(hostName), port: portNumber };
/** A network made of one connection, or of datagrams, between QEMUs. */
const socketCard = card({ source: hostSide(child(element(end))) });
const network = choice('family', {
  ipv4: element({ address: attribute(ipv4), prefix: optionalAttribute(integer(4, 27)) }),
  ipv6: element({ address: attribute(ipv6), prefix: optionalAttribute(integer(64, 64)) }),
});

/** A network card of the guest. */
export const networkInterface = choice(
  'type',
  {
    /** The network that QEMU itself plays; the guest is told its addresses. */
    user: element({ ip: children(network), ...common }, { ...options, refused: userRefused, check: checkNetworks }),
    ethernet: element({ ...ofTap, ...common }, { refused: tapRefused }),
    bridge: portCard({
      source: hostSide(
        child(
          element(
            { bridge: attribute(deviceName) },
            {
              ignored: {
                '@network': 'it says for which network libvirt took the bridge',
                '@portgroup': 'it says for which network libvirt took the bridge',
                ...ofLibvirt,
              },
            },
          ),
        ),
      ),
    }),
    /** The host says which bridge that is: FERRY_NETWORKS. */
    network: portCard({
      source: hostSide(
        child(
          element(
            { network: attribute(networkName), portgroup: optionalAttribute(portGroup) },
            { ignored: { '@bridge': 'it says which bridge libvirt took for the network', ...ofLibvirt } },
          ),
        ),
      ),
    }),
    /** A device of the host's, on which the guest has an address of its own. */
    direct: element(
      {
        source: hostSide(
          child(
            element({
              dev: attribute(deviceName),
              mode: attributeOr(oneOf('vepa', 'bridge', 'private', 'passthrough'), 'vepa'),
            }),
          ),
        ),
        ...ofTap,
        target: hostSide(optionalChild(portTap)),
        virtualport,
        vlan,
        ...common,
      },
      { refused: portRefused },
    ),
    server: socketCard,
    client: socketCard,
    mcast: socketCard,
    udp: card({ source: hostSide(child(element({ ...end, local: child(element(end)) }))) }),
    /** Plugged into nothing. */
    null: card({}),
    vhostuser: card({
      source: hostSide(
        child(
          element({
            type: attribute(oneOf('unix')),
            path: attribute(path),
            mode: attribute(oneOf('client', 'server')),
            reconnect,
          }),
        ),
      ),
    }),
  },
  {
    hostSide: true,
    refused: {
      hostdev: 'A device of the host cannot be moved',
      vdpa: 'A device of the host cannot be moved',
    },
  },
);

export type NetworkInterface = Of<typeof networkInterface>;
