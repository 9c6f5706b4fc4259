import type { Of } from '../codec/element.ts';
import { choice, element, pathOf, type Report } from '../codec/element-codec.ts';
import { attribute, children, named, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, oneOf, path, type Scalar, token } from '../codec/scalar.ts';
import { inputAddress, pciAddress } from './address.ts';
import { audioReference } from './audio.ts';
import { hostName } from './chardev.ts';
import { networkName } from './interface.ts';
import { acpiIndex, alias, onOff, virtioOptions, yesNo } from './common.ts';
import { checkPassword, passwordFields, withoutIdleValidity } from './display-password.ts';

const address = optionalChild(pciAddress);

const inputFields = {
  bus: optionalAttribute(oneOf('ps2', 'usb', 'virtio')),
  model: optionalAttribute(oneOf('virtio')),
  driver: optionalChild(element(virtioOptions)),
  acpi: acpiIndex,
  alias,
  address: optionalChild(inputAddress),
};
const inputDevice = element(inputFields);

/** A mouse, tablet or keyboard. */
export const input = choice(
  'type',
  { mouse: inputDevice, tablet: inputDevice, keyboard: inputDevice },
  { refused: { passthrough: 'A device of the host cannot be moved', evdev: 'A device of the host cannot be moved' } },
);

/** A sound card. */
export const sound = element({
  model: attribute(oneOf('ac97', 'es1370', 'ich6', 'ich9', 'sb16', 'usb', 'virtio', 'pcspk')),
  streams: optionalAttribute(integer(1, 255)),
  multichannel: optionalAttribute(yesNo),
  codec: children(element({ type: attribute(oneOf('duplex', 'micro', 'output')) })),
  audio: audioReference,
  driver: optionalChild(element(virtioOptions)),
  acpi: acpiIndex,
  alias,
  address: optionalChild(inputAddress),
});

const videoModel = element({
  type: attribute(oneOf('vga', 'cirrus', 'vmvga', 'qxl', 'virtio', 'bochs', 'ramfb', 'none')),
  ram: optionalAttribute(integer(0, 2 ** 24)),
  vram: optionalAttribute(integer(0, 2 ** 24)),
  vram64: optionalAttribute(integer(0, 2 ** 24)),
  vgamem: optionalAttribute(integer(0, 2 ** 24)),
  heads: optionalAttribute(integer(1, 16)),
  blob: optionalAttribute(onOff),
  edid: optionalAttribute(onOff),
  primary: optionalAttribute(yesNo),
  acceleration: optionalChild(element({ accel2d: optionalAttribute(yesNo), accel3d: optionalAttribute(oneOf('no')) })),
  resolution: optionalChild(element({ x: attribute(integer(1, 16384)), y: attribute(integer(1, 16384)) })),
});

/** A graphics card. */
export const video = element({
  model: optionalChild(videoModel),
  driver: optionalChild(
    element(virtioOptions, {
      refused: {
        '@name': 'The process behind it is not started by Ferry',
        '@vgaconf': 'It belongs to other machines than x86',
      },
    }),
  ),
  acpi: acpiIndex,
  alias,
  address,
});

/** See withoutGenerated. */
const displaySocket = { ...path, accepts: `${path.accepts}; one below /var/lib/libvirt/qemu: as if it were absent` };

const listen = choice('type', {
  address: element({ address: optionalAttribute(hostName) }),
  socket: element({ socket: optionalAttribute(displaySocket) }),
  /** The address of the network's bridge on whichever host it is. */
  network: element(
    { network: attribute(networkName) },
    { ignored: { '@address': 'it is what libvirt found on its host' } },
  ),
  none: element({}),
});
const port = integer(-1, 65535);
const display = {
  listenAddress: named('listen', optionalAttribute(hostName)),
  autoport: optionalAttribute(yesNo),
  listen: children(listen),
  keymap: optionalAttribute(token),
  ...passwordFields,
};
const compression = (words: readonly string[]) => optionalChild(element({ compression: attribute(oneOf(...words)) }));

const security = oneOf('any', 'insecure', 'secure');

interface Secured {
  readonly tlsPort?: number;
  readonly defaultMode?: string;
  readonly channel: readonly { readonly mode: string }[];
}

/** Nothing can be secure without a port for it (qemuBuildGraphicsSPICECommandLine). */
function checkSecurity({ tlsPort, defaultMode, channel }: Secured, report: Report): void {
  if (tlsPort !== undefined) return;
  const what = 'it is to be secure, and there is no tlsPort';
  if (defaultMode === 'secure') report('xml-invalid', '/@defaultMode', what, 'Add tlsPort with a number');
  channel.forEach(({ mode }, i) => {
    const at = `${pathOf('', 'channel', channel.length, i)}/@mode`;
    if (mode === 'secure') report('xml-invalid', at, what, 'Add tlsPort with a number');
  });
}

/** A port that libvirt chooses, which without a set-up for TLS is none (qemuProcessGraphicsAllocatePorts); 0 is none always. */
const tlsPort: Scalar<number> = {
  ...integer(1, 65535),
  accepts: '1 to 65535; 0, or -1 beside an automatic port: as if it were absent',
};
const withoutTlsPort = (attributes: ReadonlyMap<string, string>): ReadonlyMap<string, string> => {
  const isAuto = attributes.get('autoport') === 'yes' || attributes.get('port') === '-1';
  const given = attributes.get('tlsPort');
  if (given !== '0' && !(given === '-1' && isAuto)) return attributes;
  return new Map([...attributes].filter(([name]) => name !== 'tlsPort'));
};

const noGl = oneOf('no');
/** Only that there is none. */
const gl: typeof noGl = {
  ...noGl,
  decode: (raw, policy) => {
    const decoded = noGl.decode(raw, policy);
    return 'value' in decoded ? decoded : { ...decoded, hint: 'A guest that draws with the host cannot be moved' };
  },
};

const spiceChannel = oneOf('main', 'display', 'inputs', 'cursor', 'playback', 'record', 'smartcard', 'usbredir');

const anyGraphics = choice(
  'type',
  {
    vnc: element(
      {
        port: optionalAttribute(port),
        websocket: optionalAttribute(port),
        socket: optionalAttribute(displaySocket),
        sharePolicy: optionalAttribute(oneOf('allow-exclusive', 'force-shared', 'ignore')),
        powerControl: optionalAttribute(yesNo),
        ...display,
        audio: audioReference,
      },
      { check: checkPassword('vnc') },
    ),
    spice: element(
      {
        port: optionalAttribute(port),
        /** Encrypted, with the certificates in the directory of libvirt's. */
        tlsPort: optionalAttribute(tlsPort),
        ...display,
        defaultMode: optionalAttribute(security),
        channel: children(element({ name: attribute(spiceChannel), mode: attribute(security) })),
        image: compression(['auto_glz', 'auto_lz', 'quic', 'glz', 'lz', 'off']),
        jpeg: compression(['auto', 'never', 'always']),
        zlib: compression(['auto', 'never', 'always']),
        playback: optionalChild(element({ compression: attribute(onOff) })),
        streaming: optionalChild(element({ mode: attribute(oneOf('filter', 'all', 'off')) })),
        mouse: optionalChild(element({ mode: attribute(oneOf('server', 'client')) })),
        filetransfer: optionalChild(element({ enable: attribute(yesNo) })),
        clipboard: optionalChild(element({ copypaste: attribute(yesNo) })),
        gl: optionalChild(element({ enable: attribute(gl) })),
      },
      {
        check: (value, report) => {
          checkSecurity(value, report);
          checkPassword('spice')(value, report);
        },
      },
    ),
  },
  {
    refused: {
      sdl: 'There is no screen on a server',
      rdp: 'The process behind it is not started by Ferry',
      desktop: 'There is no screen on a server',
      dbus: 'QEMU here has no D-Bus display',
      'egl-headless': 'A guest that draws with the host cannot be moved',
    },
  },
);

/** How people see the guest. */
export const graphics: typeof anyGraphics = {
  ...anyGraphics,
  decode: (node, at, findings) =>
    anyGraphics.decode({ ...node, attributes: withoutIdleValidity(withoutTlsPort(node.attributes)) }, at, findings),
};

export type Input = Of<typeof input>;
export type Sound = Of<typeof sound>;
export type Video = Of<typeof video>;
export type Graphics = Of<typeof graphics>;
