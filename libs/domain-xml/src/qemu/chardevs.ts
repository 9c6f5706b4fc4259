import type { Domain } from '../domain.ts';
import { virtioSerialOf } from '../vocabulary/address.ts';
import type { Backend, Channel, Console, Smartcard } from '../vocabulary/chardev.ts';
import { device, idOf, json, type JsonObject, optionValue, pciPlace, required, shortened, usbPlace } from './json.ts';

/** Serial and parallel ports, consoles, channels, card readers and redirected devices, and where their bytes go. */
export function chardevArguments({ devices }: Domain, directory: string): string[] {
  const backend = (one: Backend, id: string, spice?: SpiceName) => backendArguments(one, id, directory, spice);
  const { controller: all } = devices;
  const virtioConsoles = devices.console.filter((one) => one.target?.type === 'virtio');
  return [
    ...devices.smartcard.flatMap((reader) => {
      const id = idOf(reader);
      return [
        ...backend(reader, `char${id}`, 'smartcard'),
        ...device({ driver: 'ccid-card-passthru', chardev: `char${id}`, id, bus: `${readerOf(reader, all)}.0` }),
      ];
    }),
    ...devices.serial.flatMap((port) => {
      const chardev = `char${idOf(port)}`;
      const { type, port: index } = required(port.target, 'serial port');
      const base = { chardev, id: idOf(port) };
      const where: JsonObject =
        type === 'pci-serial'
          ? { driver: 'pci-serial', ...base, ...pciPlace(port, all) }
          : type === 'usb-serial'
            ? { driver: 'usb-serial', ...base, ...usbPlace(port, all) }
            : type === 'isa-debug'
              ? { driver: 'isa-debugcon', ...base, ...isaPlace(port) }
              : { driver: 'isa-serial', ...base, index, ...isaPlace(port) };
      return [...backend(port, chardev), ...device(where)];
    }),
    ...devices.parallel.flatMap((port) => {
      const chardev = `char${idOf(port)}`;
      return [...backend(port, chardev), ...device({ driver: 'isa-parallel', chardev, id: idOf(port) })];
    }),
    ...devices.channel.flatMap((channel) => [
      ...backend(channel, `char${idOf(channel)}`),
      ...channelDevice(channel, all),
    ]),
    ...virtioConsoles.flatMap((one) => [
      ...backend(one, `char${idOf(one)}`),
      ...device({ driver: 'virtconsole', ...virtioPort(one, all), chardev: `char${idOf(one)}`, id: idOf(one) }),
    ]),
    ...devices.redirdev.flatMap((one) => [
      ...backend(one, `char${idOf(one)}`, 'usbredir'),
      ...device({
        driver: 'usb-redir',
        chardev: `char${idOf(one)}`,
        id: idOf(one),
        filter: devices.redirfilter && usbFilter(devices.redirfilter),
        bootindex: one.boot?.order,
        ...usbPlace(one, all),
      }),
    ]),
  ];
}

/** A socket's path has at most 107 bytes, most of them the directory's. */
const socketMax = 24;

function channelDevice(channel: Channel, controllers: Domain['devices']['controller']): string[] {
  const [id, chardev] = [idOf(channel), `char${idOf(channel)}`];
  const { target } = channel;
  if (target.type === 'virtio')
    return device({
      driver: 'virtserialport',
      ...virtioPort(channel, controllers),
      chardev,
      id,
      // The agent of SPICE has one name (qemuBuildVirtioSerialPortDevProps).
      name: target.name ?? (channel.type === 'spicevmc' ? 'com.redhat.spice.0' : undefined),
    });
  const guestfwd = [{ str: `tcp:${target.address}:${target.port}-chardev:${chardev}` }];
  return ['-netdev', json({ type: 'user', id, guestfwd })];
}

/** usbredir's spelling of rules: `class:vendor:product:version:allow`, -1 for any (qemuBuildUSBRedirFilter…). */
function usbFilter({ usbdev }: NonNullable<Domain['devices']['redirfilter']>): string {
  const shown = (value: number | undefined, digits: number) =>
    value === undefined ? '-1' : `0x${value.toString(16).toUpperCase().padStart(digits, '0')}`;
  return usbdev
    .map((rule) => {
      const [major = 0, minor = 0] = (rule.version ?? '').split('.').map((part) => Number.parseInt(part, 16));
      // A version is binary-coded: 9.40 is 0x0940.
      const version = rule.version === undefined ? undefined : major * 256 + minor;
      const parts = [shown(rule.class, 2), shown(rule.vendor, 4), shown(rule.product, 4), shown(version, 4)];
      return [...parts, rule.allow ? 1 : 0].join(':');
    })
    .join('|');
}

function readerOf({ address }: Smartcard, controllers: Domain['devices']['controller']): string {
  const index = required(address, 'card address').controller;
  return idOf(
    required(
      controllers.find((c) => c.type === 'ccid' && c.index === index),
      `card reader ${index}`,
    ),
  );
}

function isaPlace({ address }: { readonly address?: { readonly type: string } }): JsonObject {
  if (address?.type !== 'isa') return {};
  const { iobase, irq } = address as { readonly iobase?: number; readonly irq?: number };
  return { iobase, irq };
}

function virtioPort(one: Console | Channel, controllers: Domain['devices']['controller']): JsonObject {
  const { controller, bus, port } = required(virtioSerialOf(one), 'virtio-serial address');
  const on = controllers.find((c) => c.type === 'virtio-serial' && c.index === controller);
  return { bus: `${idOf(required(on, `virtio-serial controller ${controller}`))}.${bus}`, nr: port };
}

/** `-chardev` has no JSON in QEMU 7.2: names and hosts are checked to have no commas. */
export function backendArguments(one: Backend, id: string, directory: string, spice: SpiceName = 'vdagent'): string[] {
  const log =
    one.log === undefined
      ? ''
      : `,logfile=${optionValue(one.log.file)},logappend=${one.log.append === false ? 'off' : 'on'}`;
  return ['-chardev', `${backendOption(one, id, directory, spice)}${log}`];
}

/** What a SPICE client knows the other end of its channel by. */
type SpiceName = 'vdagent' | 'smartcard' | 'usbredir';

function backendOption(one: Backend, id: string, directory: string, spice: SpiceName): string {
  switch (one.type) {
    case 'null':
    case 'vc':
    case 'pty':
    case 'stdio':
      return `${one.type},id=${id}`;
    case 'file':
      // What the guest wrote before a migration stays, unless the document asks for a new file.
      return `file,id=${id},path=${optionValue(one.source.path)},append=${one.source.append === false ? 'off' : 'on'}`;
    case 'pipe':
      return `pipe,id=${id},path=${optionValue(one.source.path)}`;
    case 'dev':
      return `serial,id=${id},path=${optionValue(one.source.path)}`;
    case 'unix':
      return `socket,id=${id},path=${optionValue(one.source?.path ?? `${directory}/${shortened(id.replace(/^char/, ''), socketMax)}.sock`)}${socketMode(one.source)}`;
    case 'tcp': {
      const telnet = one.protocol.type === 'telnet' ? ',telnet=on' : '';
      return `socket,id=${id},host=${one.source.host},port=${one.source.service}${telnet}${socketMode(one.source)}`;
    }
    case 'spicevmc':
      return `spicevmc,id=${id},name=${spice}`;
    case 'udp': {
      const [to, from] = (['connect', 'bind'] as const).map((mode) => one.source.find((end) => end.mode === mode));
      const local = from === undefined ? '' : `,localaddr=${from.host ?? ''},localport=${from.service}`;
      return `udp,id=${id},host=${to?.host ?? 'localhost'},port=${to?.service ?? ''}${local}`;
    }
    case 'spiceport':
      return `spiceport,id=${id},name=${one.source.channel}`;
    default:
      return one satisfies never;
  }
}

interface Socket {
  readonly mode: 'bind' | 'connect';
  readonly reconnect?: { readonly enabled: boolean; readonly timeout?: number };
}

function socketMode(source: Socket | undefined): string {
  if (source === undefined || source.mode === 'bind') return ',server=on,wait=off';
  return source.reconnect?.enabled === true ? `,reconnect=${source.reconnect.timeout ?? 10}` : '';
}
