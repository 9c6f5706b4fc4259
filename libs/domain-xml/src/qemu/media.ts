import type { Domain } from '../domain.ts';
import type { Graphics, Input, Sound, Video } from '../vocabulary/media.ts';
import { audioArguments } from './audio.ts';
import { device, idOf, optionValue, pciPlace, required, usbPlace, virtioName, virtioOptions } from './json.ts';

/** Sound, displays, graphics cards and inputs. */
export function mediaArguments(domain: Domain, directory: string, spicePort: number): string[] {
  const { devices } = domain;
  return [
    ...devices.audio.flatMap(audioArguments),
    ...devices.graphics.flatMap((one) =>
      displayArguments(one, { directory, spicePort, audioId: devices.audio[0]?.id ?? 1 }),
    ),
    ...devices.video.flatMap((video, i) => videoArguments(video, i === 0, domain)),
    ...devices.sound.flatMap((card) => soundArguments(card, domain)),
    ...devices.input.flatMap((input) => inputArguments(input, domain)),
  ];
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

interface Surroundings {
  readonly directory: string;
  /** The port for a SPICE display that leaves it to the host. */
  readonly spicePort: number;
  readonly audioId: number;
}

function displayArguments(graphics: Graphics, { directory, spicePort, audioId }: Surroundings): string[] {
  const [listen] = graphics.listen;
  const address = listen?.type === 'address' ? (listen.address ?? '127.0.0.1') : '127.0.0.1';
  const socket = listen?.type === 'socket' ? (listen.socket ?? `${directory}/${graphics.type}.sock`) : undefined;
  const keymap = graphics.keymap === undefined ? [] : ['-k', graphics.keymap];
  if (graphics.type === 'vnc') return [...keymap, '-vnc', vncOption(graphics, address, socket, audioId)];
  const where =
    socket === undefined ? `${plainPort(graphics, spicePort)}addr=${address}` : `unix=on,addr=${optionValue(socket)}`;
  const option = (name: string, value: string | undefined) => (value === undefined ? '' : `,${name}=${value}`);
  return [
    ...keymap,
    '-spice',
    `${listen?.type === 'none' ? 'port=0' : where}${graphics.passwd === undefined ? ',disable-ticketing=on' : ''}` +
      option('image-compression', graphics.image?.compression) +
      option('jpeg-wan-compression', graphics.jpeg?.compression) +
      option('zlib-glz-wan-compression', graphics.zlib?.compression) +
      option(
        'playback-compression',
        graphics.playback === undefined ? undefined : graphics.playback.compression ? 'on' : 'off',
      ) +
      option('streaming-video', graphics.streaming?.mode) +
      option(
        'agent-mouse',
        graphics.mouse === undefined ? undefined : graphics.mouse.mode === 'server' ? 'off' : 'on',
      ) +
      option('disable-copy-paste', graphics.clipboard?.copypaste === false ? 'on' : undefined) +
      option('disable-agent-file-xfer', graphics.filetransfer?.enable === false ? 'on' : undefined) +
      option('tls-port', graphics.tlsPort === undefined ? undefined : String(graphics.tlsPort)) +
      option('x509-dir', graphics.tlsPort === undefined ? undefined : certificates) +
      channelMode('default', graphics.defaultMode) +
      graphics.channel.map((one) => channelMode(one.name, one.mode)).join('') +
      ',seamless-migration=on',
  ];
}

/** One that is encrypted alone has no other port. */
function plainPort({ port, autoport, tlsPort }: Extract<Graphics, { type: 'spice' }>, free: number): string {
  if (port === undefined && autoport !== true && tlsPort !== undefined) return '';
  return `port=${port ?? free},`;
}

/** Where libvirt has those of SPICE (qemu.conf: spice_tls_x509_cert_dir). */
const certificates = '/etc/pki/libvirt-spice';

function channelMode(name: string, mode: 'any' | 'insecure' | 'secure' | undefined): string {
  if (mode === undefined || mode === 'any') return '';
  return `,${mode === 'secure' ? 'tls' : 'plaintext'}-channel=${name}`;
}

function vncOption(
  graphics: Extract<Graphics, { type: 'vnc' }>,
  address: string,
  socket: string | undefined,
  audioId: number,
): string {
  if (graphics.listen[0]?.type === 'none') return 'none';
  const isAuto = graphics.port === undefined || graphics.port === -1;
  const where =
    socket !== undefined
      ? `unix:${optionValue(socket)}`
      : `${bracketed(address)}:${isAuto ? 0 : (graphics.port ?? 5900) - 5900}${isAuto ? ',to=99' : ''}`;
  const share = graphics.sharePolicy === undefined ? '' : `,share=${graphics.sharePolicy}`;
  const power = graphics.powerControl === undefined ? '' : `,power-control=${graphics.powerControl ? 'on' : 'off'}`;
  const { websocket } = graphics;
  const web = websocket === undefined || socket !== undefined ? '' : `,websocket=${websocket > 0 ? websocket : 'on'}`;
  // Told over the monitor (startCommands): until then no client gets in.
  const password = graphics.passwd === undefined ? '' : ',password=on';
  return `${where}${web}${password}${share}${power},audiodev=audio${graphics.audio?.id ?? audioId}`;
}

const primaryDrivers = {
  vga: 'VGA',
  cirrus: 'cirrus-vga',
  vmvga: 'vmware-svga',
  qxl: 'qxl-vga',
  virtio: 'virtio-vga',
  bochs: 'bochs-display',
  ramfb: 'ramfb',
} as const;
const mib = (kib: number | undefined): number | undefined => (kib === undefined ? undefined : Math.ceil(kib / 1024));

function videoArguments(video: Video, primary: boolean, { devices }: Domain): string[] {
  const model = required(video.model, 'video model');
  if (model.type === 'none') return [];
  const id = idOf(video);
  if (model.type === 'ramfb') return device({ driver: 'ramfb', id });
  const place = pciPlace(video, devices.controller);
  const size = { xres: model.resolution?.x, yres: model.resolution?.y };
  switch (model.type) {
    case 'qxl':
      return device({
        driver: primary ? 'qxl-vga' : 'qxl',
        id,
        max_outputs: model.heads,
        ram_size: model.ram === undefined ? undefined : model.ram * 1024,
        vram_size: model.vram === undefined ? undefined : model.vram * 1024,
        vram64_size_mb: mib(model.vram64),
        vgamem_mb: mib(model.vgamem),
        ...size,
        ...place,
      });
    case 'virtio':
      return device({
        driver: primary ? 'virtio-vga' : 'virtio-gpu-pci',
        id,
        max_outputs: model.heads,
        blob: model.blob,
        edid: model.edid,
        ...size,
        ...virtioOptions(video.driver),
        ...place,
      });
    case 'bochs':
      return device({
        driver: 'bochs-display',
        id,
        edid: model.edid,
        vgamem: model.vram === undefined ? undefined : model.vram * 1024,
        ...size,
        ...place,
      });
    case 'vga':
    case 'vmvga':
      return device({
        driver: primaryDrivers[model.type],
        id,
        vgamem_mb: mib(model.vram),
        ...(model.type === 'vga' ? { edid: model.edid, ...size } : {}),
        ...place,
      });
    case 'cirrus':
      return device({ driver: primaryDrivers[model.type], id, ...place });
    default:
      return model.type satisfies never;
  }
}

function soundArguments(card: Sound, { devices }: Domain): string[] {
  const id = idOf(card);
  const audiodev = `audio${card.audio?.id ?? devices.audio[0]?.id ?? 1}`;
  const place = () => pciPlace(card, devices.controller);
  switch (card.model) {
    case 'pcspk':
      return [];
    case 'sb16':
      return device({ driver: 'sb16', id, audiodev });
    case 'usb':
      return device({
        driver: 'usb-audio',
        id,
        audiodev,
        multi: card.multichannel,
        ...usbPlace(card, devices.controller),
      });
    case 'ac97':
      return device({ driver: 'AC97', id, audiodev, ...place() });
    case 'es1370':
      return device({ driver: 'ES1370', id, audiodev, ...place() });
    case 'virtio':
      return device({
        driver: 'virtio-sound-pci',
        id,
        audiodev,
        streams: card.streams,
        ...virtioOptions(card.driver),
        ...place(),
      });
    case 'ich6':
    case 'ich9': {
      const driver = card.model === 'ich6' ? 'intel-hda' : 'ich9-intel-hda';
      const codecs = card.codec.length === 0 ? [{ type: 'duplex' as const }] : card.codec;
      return [
        ...device({ driver, id, ...place() }),
        ...codecs.flatMap(({ type }, cad) =>
          device({ driver: `hda-${type}`, id: `${id}-codec${cad}`, bus: `${id}.0`, cad, audiodev }),
        ),
      ];
    }
    default:
      return card.model satisfies never;
  }
}

const usbInputs = { mouse: 'usb-mouse', tablet: 'usb-tablet', keyboard: 'usb-kbd' } as const;
const virtioInputs = {
  mouse: 'virtio-mouse-pci',
  tablet: 'virtio-tablet-pci',
  keyboard: 'virtio-keyboard-pci',
} as const;

function inputArguments(input: Input, { devices: { controller } }: Domain): string[] {
  // Every x86 machine has PS/2 mouse and keyboard built in.
  if (input.bus === 'ps2') return [];
  const id = idOf(input);
  if (input.bus === 'usb') return device({ driver: usbInputs[input.type], id, ...usbPlace(input, controller) });
  return device({
    driver: virtioName(virtioInputs[input.type], input.model),
    id,
    ...virtioOptions(input.driver),
    ...pciPlace(input, controller),
  });
}
