import { pathOf } from '../codec/element-codec.ts';
import type { Findings } from '../codec/place.ts';
import type { Devices } from '../vocabulary/devices.ts';
import type { Graphics, Input, Sound, Video } from '../vocabulary/media.ts';

type Report = (below: string, what: string, hint: string) => void;
type Card = NonNullable<Video['model']>;
type Option = keyof Card;

/** The options that only some cards have; any other is of all, or libvirt writes it for all (virDomainVideoDefValidate). */
const videoOptions: Readonly<Partial<Record<Option, readonly Card['type'][]>>> = {
  ram: ['qxl'],
  vram64: ['qxl'],
  vgamem: ['qxl'],
  blob: ['virtio'],
  edid: ['vga', 'bochs', 'virtio'],
  resolution: ['vga', 'qxl', 'virtio', 'bochs'],
};
const attributes: readonly Option[] = ['ram', 'vram64', 'vgamem', 'blob', 'edid'];

/** The options that only some sound cards have. */
const soundOptions = { streams: 'virtio', multichannel: 'usb', driver: 'virtio' } as const;

/** Displays, graphics and sound cards and inputs have what QEMU's devices of their kind have. */
export function checkMedia({ video, sound, input, graphics }: Devices, findings: Findings): void {
  const each = <D>(key: string, list: readonly D[], check: (one: D, report: Report, index: number) => void) =>
    list.forEach((one, i) => {
      const path = pathOf('/domain/devices', key, list.length, i);
      check(one, (below, what, hint) => findings.report('xml-invalid', `${path}${below}`, what, hint), i);
    });
  each('video', video, (one, report, i) => checkVideo(one, report, i, video));
  each('sound', sound, checkSound);
  each('input', input, checkInput);
  each('graphics', graphics, (one, report, i) => checkDisplay(one, report, i, graphics));
}

function checkVideo({ model, driver, address }: Video, report: Report, i: number, all: readonly Video[]): void {
  const type = model?.type ?? 'cirrus';
  const primary = all.findIndex((one) => one.model?.primary === true);
  if (i !== Math.max(0, primary) && type !== 'qxl' && type !== 'virtio' && type !== 'none')
    report('/model/@type', `only the first card can be a ${type}`, 'Use qxl or virtio');
  if (model?.primary === true && i > primary) report('/model/@primary', 'two cards are the first', 'Remove one');
  if (type === 'none' && all.length > 1) report('/model/@type', 'none stands alone', 'Remove one');
  if ((type === 'none' || type === 'ramfb') && address !== undefined)
    report('/address', `a ${type} is on no bus`, 'Leave it out');
  for (const name of Object.keys(videoOptions) as (keyof typeof videoOptions)[]) {
    const isOne = model?.[name] !== undefined && model[name] !== 0;
    if (!isOne || videoOptions[name]?.includes(type) !== false) continue;
    report(`/model/${attributes.includes(name) ? '@' : ''}${name}`, `a ${type} has no ${name}`, 'Remove it');
  }
  if (model?.acceleration?.accel2d === true)
    report('/model/acceleration/@accel2d', 'QEMU has none', "Use accel2d='no' or remove it");
  if (driver !== undefined && type !== 'virtio') report('/driver', `a ${type} is no virtio card`, 'Remove it');
  checkVideoMemory(type, model, report);
}

/** In KiB: QEMU counts whole MiB, and of a QXL's first surface powers of two. */
function checkVideoMemory(type: Card['type'], model: Card | undefined, report: Report): void {
  const { vgamem = 0, vram = 0 } = model ?? {};
  if (type === 'qxl' && vgamem > 0 && (vgamem < 1024 || !Number.isInteger(Math.log2(vgamem))))
    report('/model/@vgamem', `${vgamem} is not a power of two from 1024`, 'Give one');
  if ((type === 'vga' || type === 'vmvga') && vram > 0 && vram < 1024)
    report('/model/@vram', `${vram} KiB are less than 1 MiB`, 'Raise it');
}

function checkSound(card: Sound, report: Report): void {
  const { model, address, codec } = card;
  const wanted = model === 'usb' ? 'usb' : model === 'sb16' || model === 'pcspk' ? undefined : 'pci';
  if (address !== undefined && address.type !== wanted)
    report('/address/@type', `a ${model} is not there`, 'Leave it out');
  if (codec.length > 0 && !model.startsWith('ich')) report('/codec', `a ${model} has no codecs`, 'Remove it');
  for (const name of ['streams', 'multichannel', 'driver'] as const) {
    if (card[name] === undefined || soundOptions[name] === model) continue;
    report(`/${name === 'driver' ? '' : '@'}${name}`, `a ${model} has no ${name}`, 'Remove it');
  }
}

function checkInput({ bus, type, address, model, driver }: Input, report: Report): void {
  const on = bus ?? (type === 'tablet' ? 'usb' : 'ps2');
  const wanted = on === 'virtio' ? 'pci' : on;
  if (on === 'ps2' && type === 'tablet') report('/@bus', 'there is no PS/2 tablet', "Use bus='usb' or 'virtio'");
  if (address !== undefined && address.type !== wanted)
    report('/address/@type', `it does not fit bus ${on}`, 'Leave it out');
  if (on === 'virtio') return;
  if (model !== undefined) report('/@model', `an input on ${on} has no model`, 'Remove it');
  if (driver !== undefined) report('/driver', `an input on ${on} is no virtio device`, 'Remove it');
}

function checkDisplay(one: Graphics, report: Report, i: number, all: readonly Graphics[]): void {
  const { type, port, autoport, listen, listenAddress } = one;
  if (all.findIndex((other) => other.type === type) < i)
    report('/@type', `there are two ${type} displays`, 'Remove one');
  if (type === 'vnc' && autoport !== true && port !== undefined && port !== -1 && port < 5900)
    report('/@port', 'ports of VNC begin with 5900', "Raise it, or use autoport='yes'");
  if (listen.length > 1) report('/listen[2]', 'QEMU listens in one place', 'Remove one');
  const [first] = listen;
  if (first?.type === 'address' && listenAddress !== undefined && (first.address ?? listenAddress) !== listenAddress)
    report('/@listen', `<listen> says ${first.address}`, 'Make them equal, or leave it out');
}
