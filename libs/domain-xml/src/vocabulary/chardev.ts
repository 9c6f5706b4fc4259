import type { Fields, Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import {
  attribute,
  attributeOr,
  child,
  childOr,
  children,
  hostSide,
  optionalAttribute,
  optionalChild,
} from '../codec/fields.ts';
import { hex, integer, oneOf, path, pattern } from '../codec/scalar.ts';
import { ccidAddress, consoleAddress, isaAddress, serialAddress, usbAddress, virtioSerialAddress } from './address.ts';
import { alias, boot, onOff, yesNo } from './common.ts';
import { sourceLabels } from './seclabel.ts';

export const hostName = pattern(/^[A-Za-z0-9_.:%-]{1,253}$/, 'a host name or address', [
  '127.0.0.1',
  '::1',
  'example.org',
]);
export const ipv4 = pattern(/^(\d{1,3}\.){3}\d{1,3}$/, 'an IPv4 address', ['10.0.2.1']);
const service = pattern(/^[A-Za-z0-9-]{1,32}$/, 'a port number or service name', ['5678']);
const channelName = pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, 'a name of letters, digits and _ . -', [
  'org.qemu.guest_agent.0',
]);

/** What a guest's driver knows a port by. */
const portName = pattern(/^[^\p{Cc}\p{Cs}]{1,128}$/u, 'a name of at most 128 characters', ['org.qemu.guest_agent.0']);

export const reconnect = optionalChild(
  element({ enabled: attribute(yesNo), timeout: optionalAttribute(integer(1, 3600)) }),
);
const labels = { seclabel: sourceLabels };
const pathSource = hostSide(child(element({ path: attribute(path), ...labels })));
const fileSource = hostSide(child(element({ path: attribute(path), append: optionalAttribute(onOff), ...labels })));
const mode = attributeOr(oneOf('bind', 'connect'), 'connect');
/** See withoutGenerated. */
const socketPath = {
  ...path,
  accepts: `${path.accepts}; of a channel, one below /var/lib/libvirt/qemu/channel: as if it were absent`,
};
const unixSource = element({
  mode: attributeOr(oneOf('bind', 'connect'), 'bind'),
  path: optionalAttribute(socketPath),
  reconnect,
  ...labels,
});
const tcpSource = element({
  mode,
  host: attribute(hostName),
  service: attribute(service),
  // Ferry has no TLS set-up for character devices.
  tls: optionalAttribute(oneOf('no')),
  reconnect,
});
/** Where datagrams come from, and where they go. */
const udpSource = element({ mode, host: optionalAttribute(hostName), service: attribute(service) });
const unixOptions = { ignored: { protocol: 'libvirt reads it of tcp alone' } };
const log = hostSide(optionalChild(element({ file: attribute(path), append: optionalAttribute(onOff) })));
const ptyOptions = {
  ignored: { source: 'libvirt ignores where a pty was', '@tty': 'libvirt ignores where a pty was' },
};

/** A character device: what the guest sees is in `fields`, where its bytes go is the host's business. */
const withBackends = <F extends Fields>(fields: F) =>
  choice(
    'type',
    {
      null: element({ log, ...fields }),
      vc: element({ log, ...fields }),
      pty: element({ log, ...fields }, ptyOptions),
      stdio: element({ log, ...fields }),
      file: element({ source: fileSource, log, ...fields }),
      pipe: element({ source: pathSource, log, ...fields }),
      dev: element({ source: pathSource, log, ...fields }),
      unix: element({ source: hostSide(optionalChild(unixSource)), log, ...fields }, unixOptions),
      udp: element({ source: hostSide(children(udpSource)), log, ...fields }),
      tcp: element({
        source: hostSide(child(tcpSource)),
        protocol: hostSide(childOr(element({ type: attribute(oneOf('raw', 'telnet')) }), { type: 'raw' })),
        log,
        ...fields,
      }),
      spicevmc: element({ log, ...fields }),
      spiceport: element({
        source: hostSide(child(element({ channel: attribute(channelName) }))),
        log,
        ...fields,
      }),
    },
    {
      hostSide: true,
      refused: {
        nmdm: 'It is a device of FreeBSD',
        dbus: 'QEMU here has no D-Bus display',
        'qemu-vdagent': 'QEMU does not move a guest that has it: use spicevmc',
      },
    },
  );

const serialModel = oneOf('isa-serial', 'usb-serial', 'pci-serial', 'isa-debugcon');

/** A serial port of the guest. */
export const serial = withBackends({
  target: optionalChild(
    element({
      type: optionalAttribute(oneOf('isa-serial', 'usb-serial', 'pci-serial', 'isa-debug')),
      port: optionalAttribute(integer(0, 255)),
      model: optionalChild(element({ name: attribute(serialModel) })),
    }),
  ),
  alias,
  address: optionalChild(serialAddress),
});

/** A parallel port of the guest. */
export const parallel = withBackends({
  target: optionalChild(element({ port: optionalAttribute(integer(0, 2)) })),
  alias,
  address: optionalChild(isaAddress),
});

/** A console; the first one is another name for the first serial port, as in libvirt. */
export const console = withBackends({
  target: optionalChild(
    element({ type: optionalAttribute(oneOf('serial', 'virtio')), port: optionalAttribute(integer(0, 255)) }),
  ),
  alias,
  address: optionalChild(consoleAddress),
});

/** A channel between guest and host by a name, such as the guest agent's. */
export const channel = withBackends({
  target: child(
    choice(
      'type',
      {
        virtio: element(
          { name: optionalAttribute(portName) },
          { ignored: { '@state': 'libvirt reports it of running guests' } },
        ),
        /** What the guest connects to on this address of its network. */
        guestfwd: element({ address: attribute(ipv4), port: attribute(integer(1, 65535)) }),
      },
      { refused: { xen: 'It is a choice of Xen' } },
    ),
  ),
  alias,
  address: optionalChild(virtioSerialAddress),
});

/** A USB device that a SPICE client or a socket provides. */
export const redirdev = choice(
  'bus',
  { usb: withBackends({ boot, alias, address: optionalChild(usbAddress) }) },
  { fallback: 'usb' },
);

const usbPattern = pattern(/^\d{1,2}\.\d{1,2}$/, 'a version like 1.09', ['1.09', '9.4']);
/** `9.4` is 9.40 (virDomainRedirFilterUSBVersionHelper). */
const usbVersion: typeof usbPattern = {
  ...usbPattern,
  decode: (raw, policy) => {
    const decoded = usbPattern.decode(raw, policy);
    return 'value' in decoded ? { value: /\.\d$/.test(decoded.value) ? `${decoded.value}0` : decoded.value } : decoded;
  },
};

const givenRule = element({
  class: optionalAttribute(hex(0xff, 2)),
  vendor: optionalAttribute(hex(0xffff, 4)),
  product: optionalAttribute(hex(0xffff, 4)),
  version: optionalAttribute(usbVersion),
  allow: attribute(yesNo),
});
/** What is -1 may be anything, as may what is not given (virDomainRedirFilterUSBDevDefParseXML). */
const filterRule: typeof givenRule = {
  ...givenRule,
  decode: (node, at, findings) => {
    const attributes = new Map([...node.attributes].filter(([, value]) => value !== '-1'));
    return givenRule.decode({ ...node, attributes }, at, findings);
  },
};

/** Which USB devices may be handed in: the first rule that fits decides. */
export const redirfilter = element({ usbdev: children(filterRule) });

/** A smart card reader whose cards somebody else has, such as a SPICE client. */
export const smartcard = choice(
  'mode',
  { passthrough: withBackends({ alias, address: optionalChild(ccidAddress) }) },
  {
    refused: {
      host: 'Cards of the host are not on the other: use passthrough',
      'host-certificates': 'Certificates of the host are not on the other: use passthrough',
    },
  },
);

export type Serial = Of<typeof serial>;
export type Parallel = Of<typeof parallel>;
export type Console = Of<typeof console>;
export type Channel = Of<typeof channel>;
export type Redirdev = Of<typeof redirdev>;
export type Smartcard = Of<typeof smartcard>;

/** Where the bytes of something go that is no character device by itself. */
export const backendOnly = withBackends({});
/** Where the bytes go, whatever the device is. */
export type Backend = Of<typeof backendOnly>;
