import type { Devices } from '../vocabulary/devices.ts';
import type { Graphics, Input, Video } from '../vocabulary/media.ts';

/** Inputs, displays, graphics cards and sound, as every x86 machine of libvirt has them; what is on PS/2 only where that is. */
export function completeMedia(
  devices: Devices,
  hasPs2: boolean,
): Pick<Devices, 'input' | 'graphics' | 'video' | 'audio' | 'sound'> {
  const input = devices.input.map(
    (one): Input => ({ ...one, bus: one.bus ?? (one.type === 'tablet' ? 'usb' : 'ps2') }),
  );
  const has = (type: Input['type']) => input.some((one) => one.type === type && one.bus === 'ps2');
  const ps2 = (['mouse', 'keyboard'] as const).filter((type) => hasPs2 && !has(type));
  const graphics = devices.graphics.map(completeGraphics);
  const video =
    devices.video.length === 0 && graphics.length > 0 ? [{ model: { type: 'cirrus' } } as const] : devices.video;
  const sound = devices.sound.map((card) => (card.model === 'virtio' ? { ...card, streams: card.streams ?? 2 } : card));
  return {
    input: [...input, ...ps2.map((type): Input => ({ type, bus: 'ps2' }))],
    graphics,
    video: completeVideos(video),
    audio:
      devices.audio.length > 0
        ? devices.audio
        : [{ type: graphics[0]?.type === 'spice' ? ('spice' as const) : ('none' as const), id: 1 }],
    sound,
  };
}

function completeGraphics(graphics: Graphics): Graphics {
  const socket = graphics.type === 'vnc' ? graphics.socket : undefined;
  const listen: Graphics['listen'] =
    graphics.listen.length > 0
      ? graphics.listen
      : socket !== undefined
        ? [{ type: 'socket', socket }]
        : [{ type: 'address', ...(graphics.listenAddress === undefined ? {} : { address: graphics.listenAddress }) }];
  const first = listen[0];
  const address = first?.type === 'address' ? first.address : undefined;
  const withListen = {
    ...graphics,
    listen,
    ...(graphics.listenAddress === undefined && address !== undefined ? { listenAddress: address } : {}),
  };
  if (first?.type === 'none') return withListen;
  if (graphics.type === 'spice' && first?.type === 'address' && !isPortAuto(graphics) && hasNoPort(graphics)) {
    // It asks for no port at all: clients are handed in by the host.
    const { autoport: _autoport, port: _port, listenAddress: _address, ...rest } = withListen;
    return { ...rest, listen: [{ type: 'none' }] };
  }
  if (first?.type === 'socket') {
    return first.socket !== undefined && graphics.type === 'vnc'
      ? ({ ...withListen, socket: first.socket } as Graphics)
      : withListen;
  }
  const isSecureOnly = graphics.type === 'spice' && (graphics.tlsPort ?? 0) > 0;
  const auto = isPortAuto(graphics) || (graphics.port === undefined && !isSecureOnly);
  if (graphics.type === 'vnc') return { ...withListen, port: auto ? -1 : (graphics.port ?? -1), autoport: auto };
  const { port: _port, ...rest } = withListen;
  return auto ? { ...rest, autoport: true } : { ...withListen, autoport: false };
}

const hasNoPort = ({ port = 0, tlsPort = 0 }: Extract<Graphics, { type: 'spice' }>): boolean =>
  port <= 0 && tlsPort <= 0;

const isPortAuto = ({ autoport, port }: Graphics): boolean => autoport === true || port === -1;

/** Memory of graphics cards in KiB, as libvirt gives it (virDomainVideoDefaultRAM, qemuDomainDeviceVideoDefPostParse). */
function completeVideos(videos: readonly Video[]): readonly Video[] {
  const primary = videos.findIndex((video) => video.model?.primary === true);
  const first = primary < 0 ? 0 : primary;
  // The primary one is the first (virDomainDefPostParseVideo).
  const ordered = videos
    .flatMap((video, i) => (i === first ? [video] : []))
    .concat(videos.filter((_, i) => i !== first));
  return ordered.map((video, i) => {
    const type = video.model?.type ?? 'cirrus';
    const { primary: _primary, ...model } = video.model ?? { type };
    const shown = i === 0 && type !== 'none' ? { primary: true } : {};
    return { ...video, model: { ...memoryOf(type), heads: 1, ...model, type, ...shown } };
  });
}

function memoryOf(type: NonNullable<Video['model']>['type']): Partial<NonNullable<Video['model']>> {
  if (type === 'qxl') return { ram: 65536, vram: 65536, vgamem: 16384 };
  return type === 'vga' || type === 'cirrus' || type === 'vmvga' || type === 'bochs' ? { vram: 16384 } : {};
}
