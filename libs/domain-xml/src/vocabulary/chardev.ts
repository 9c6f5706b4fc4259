import type { Fields, Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, attributeOr, child, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, oneOf, path, pattern } from '../codec/scalar.ts';
import { ccidAddress, isaAddress, serialAddress, usbAddress, virtioSerialAddress } from './address.ts';
import { alias, boot, onOff, yesNo } from './common.ts';

export const hostName = pattern(/^[A-Za-z0-9_.:%-]{1,253}$/, 'a host name or address', [
  '127.0.0.1',
  '::1',
  'example.org',
]);
const service = pattern(/^[A-Za-z0-9-]{1,32}$/, 'a port number or service name', ['5678']);
const channelName = pattern(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/, 'a name of letters, digits and _ . -', [
  'org.qemu.guest_agent.0',
]);

const reconnect = optionalChild(element({ enabled: attribute(yesNo), timeout: optionalAttribute(integer(1, 3600)) }));
const sourceRefused = { seclabel: 'Ferry does not relabel files: remove it' };
const pathSource = hostSide(child(element({ path: attribute(path) }, { refused: sourceRefused })));
const fileSource = hostSide(
  child(element({ path: attribute(path), append: optionalAttribute(onOff) }, { refused: sourceRefused })),
);
const mode = attributeOr(oneOf('bind', 'connect'), 'connect');
const unixSource = element(
  { mode: attributeOr(oneOf('bind', 'connect'), 'bind'), path: optionalAttribute(path), reconnect },
  { refused: sourceRefused },
);
const tcpSource = element(
  { mode, host: attribute(hostName), service: attribute(service), reconnect },
  { refused: { '@tls': 'Ferry has no TLS set-up for character devices' } },
);
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
      unix: element({ source: hostSide(optionalChild(unixSource)), log, ...fields }),
      tcp: element({
        source: hostSide(child(tcpSource)),
        protocol: hostSide(optionalChild(element({ type: attribute(oneOf('raw', 'telnet')) }))),
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
        udp: 'Use tcp, unix or file: a UDP backend cannot be moved without losing what was sent',
        nmdm: 'It is a device of FreeBSD',
        dbus: 'QEMU here has no D-Bus display',
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
  address: optionalChild(virtioSerialAddress),
});

/** A channel between guest and host by a name, such as the guest agent's. */
export const channel = withBackends({
  target: child(
    element(
      { type: attribute(oneOf('virtio')), name: optionalAttribute(channelName) },
      { ignored: { '@state': 'libvirt reports it of running guests' } },
    ),
  ),
  alias,
  address: optionalChild(virtioSerialAddress),
});

/** A USB device that a SPICE client or a socket provides. */
export const redirdev = element({
  bus: attributeOr(oneOf('usb'), 'usb'),
  type: attribute(oneOf('spicevmc')),
  boot,
  alias,
  address: optionalChild(usbAddress),
});

/** A smart card reader whose cards a SPICE client has. */
export const smartcard = element({
  mode: attribute(oneOf('passthrough')),
  type: attribute(oneOf('spicevmc')),
  alias,
  address: optionalChild(ccidAddress),
});

export type Serial = Of<typeof serial>;
export type Parallel = Of<typeof parallel>;
export type Console = Of<typeof console>;
export type Channel = Of<typeof channel>;
/** Where the bytes go, whatever the device is. */
export type Backend = Serial | Console | Channel | Parallel;
