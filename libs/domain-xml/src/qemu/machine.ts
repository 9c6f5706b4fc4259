import type { Domain } from '../domain.ts';
import { isQ35 } from '../machines.ts';
import { cpuOption } from './cpu.ts';
import { firmwareArguments, firmwareMachineOptions } from './firmware.ts';
import { json, onOff, optionValue } from './json.ts';
import { hasNodes, memoryArguments } from './memory.ts';

/** Machine, processor, memory, firmware or kernel, clock, and what happens at a guest's end. */
export function machineArguments(domain: Domain, nowMs: number): string[] {
  const { document } = domain;
  return [
    '-name',
    // Threads carry their names, by which they are pinned.
    `guest=${optionValue(domain.name)},debug-threads=on`,
    '-uuid',
    domain.uuid,
    '-machine',
    machineOption(domain),
    '-accel',
    acceleratorOption(domain),
    '-cpu',
    cpuOption(domain),
    ...memoryArguments(domain),
    '-overcommit',
    `mem-lock=${document.memoryBacking?.locked === undefined ? 'off' : 'on'}`,
    '-smp',
    smpOption(domain),
    ...iothreadArguments(domain),
    ...mainLoopArguments(domain),
    ...clockArguments(domain, nowMs),
    ...firmwareArguments(domain),
    ...fwcfgArguments(domain),
    ...smbiosArguments(domain),
    ...lifecycleArguments(domain),
    ...globalArguments(domain),
  ];
}

function machineOption(domain: Domain): string {
  const { document, machine } = domain;
  const { features, clock, memoryBacking, os } = document;
  const hpet = clock?.timer.find((timer) => timer.name === 'hpet');
  const speaker = document.devices.sound.find((card) => card.model === 'pcspk');
  const options: Readonly<Record<string, string | undefined>> = {
    usb: 'off',
    smm: onOff(features?.smm === undefined ? undefined : (features.smm.state ?? true)),
    vmport: onOff(features?.vmport?.state),
    'kernel-irqchip': features?.ioapic === undefined ? undefined : features.ioapic.driver === 'qemu' ? 'split' : 'on',
    'dump-guest-core': onOff(document.memory.dumpCore ?? false),
    i8042: onOff(features?.ps2?.state),
    'mem-merge': memoryBacking?.nosharepages === undefined ? undefined : 'off',
    ...firmwareMachineOptions(domain),
    'memory-backend': hasNodes(domain) ? undefined : 'pc.ram',
    graphics: os.bios?.useserial === true ? 'off' : undefined,
    hpet: onOff(hpet?.present),
    nvdimm: document.devices.memory.some((module) => module.model === 'nvdimm') ? 'on' : undefined,
    acpi: features?.acpi === undefined ? 'off' : 'on',
    'pcspk-audiodev':
      speaker === undefined ? undefined : `audio${speaker.audio?.id ?? document.devices.audio[0]?.id ?? 1}`,
  };
  const given = Object.entries(options).flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${value}`]));
  return [machine, ...given].join(',');
}

function acceleratorOption({ document: { type, features } }: Domain): string {
  const ring = features?.kvm?.['dirty-ring'];
  if (type === 'kvm') return ring?.state === true ? `kvm,dirty-ring-size=${ring.size ?? 4096}` : 'kvm';
  const cache = features?.tcg?.['tb-cache'];
  // QEMU counts it in MiB.
  return cache === undefined ? 'tcg' : `tcg,tb-size=${Math.ceil(cache / 1024)}`;
}

function smpOption({ document: { vcpu, cpu } }: Domain): string {
  const { sockets, dies, cores, threads } = cpu?.topology ?? { sockets: vcpu.count, dies: 1, cores: 1, threads: 1 };
  const maximum = vcpu.current === undefined ? '' : `,maxcpus=${vcpu.count}`;
  return `${vcpu.current ?? vcpu.count}${maximum},sockets=${sockets},dies=${dies},cores=${cores},threads=${threads}`;
}

function iothreadArguments({ document: { iothreads, iothreadids } }: Domain): string[] {
  const given = iothreadids?.iothread ?? [];
  const count = Math.max(iothreads ?? 0, given.length);
  const free = Array.from({ length: count + given.length }, (_, i) => i + 1).filter(
    (id) => !given.some((one) => one.id === id),
  );
  const ids = [...given, ...free.slice(0, count - given.length).map((id) => ({ id }))];
  return ids.flatMap((one) => {
    const {
      thread_pool_min: min,
      thread_pool_max: max,
      poll,
    } = { thread_pool_min: undefined, thread_pool_max: undefined, poll: undefined, ...one };
    return [
      '-object',
      json({
        'qom-type': 'iothread',
        id: `iothread${one.id}`,
        'thread-pool-min': min,
        'thread-pool-max': max,
        'poll-max-ns': poll?.max,
        'poll-grow': poll?.grow,
        'poll-shrink': poll?.shrink,
      }),
    ];
  });
}

function mainLoopArguments({ document: { defaultiothread: pool } }: Domain): string[] {
  if (pool?.thread_pool_min === undefined && pool?.thread_pool_max === undefined) return [];
  const sizes = { 'thread-pool-min': pool.thread_pool_min, 'thread-pool-max': pool.thread_pool_max };
  return ['-object', json({ 'qom-type': 'main-loop', id: 'main-loop', ...sizes })];
}

/** What the guest's clock shows when it is started; a guest that comes from elsewhere brings its own. */
function clockBase(clock: Domain['document']['clock'], nowMs: number): string {
  const at = (ms: number) => new Date(ms).toISOString().slice(0, 19);
  if (clock?.offset === 'absolute') return at(clock.start * 1000);
  if (clock?.offset === 'timezone') return timeAt(clock.timezone, nowMs);
  if (clock?.offset !== 'variable') return clock?.offset ?? 'utc';
  if (clock.adjustment === 0) return clock.basis;
  const zone = clock.basis === 'localtime' ? -new Date(nowMs).getTimezoneOffset() * 60 : 0;
  return at(nowMs + (zone + clock.adjustment) * 1000);
}

/** What a clock in that time zone shows, as `-rtc` wants it: Sweden writes dates like ISO. */
function timeAt(timeZone: string, nowMs: number): string {
  return new Intl.DateTimeFormat('sv', { timeZone, dateStyle: 'short', timeStyle: 'medium' })
    .format(nowMs)
    .replace(' ', 'T');
}

function clockArguments({ document: { clock, type } }: Domain, nowMs: number): string[] {
  const base = clockBase(clock, nowMs);
  const rtc = clock?.timer.find((timer) => timer.name === 'rtc');
  const pit = clock?.timer.find((timer) => timer.name === 'pit');
  const source =
    rtc?.track === 'guest'
      ? ',clock=vm'
      : rtc?.track === 'wall'
        ? ',clock=host'
        : rtc?.track === 'realtime'
          ? ',clock=rt'
          : '';
  const drift = rtc?.tickpolicy === 'catchup' ? ',driftfix=slew' : '';
  const policy =
    type === 'kvm' && pit?.tickpolicy !== undefined && pit.tickpolicy !== 'catchup'
      ? ['-global', `kvm-pit.lost_tick_policy=${pit.tickpolicy}`]
      : [];
  return ['-rtc', `base=${base}${source}${drift}`, ...policy];
}

/** `-fw_cfg` knows no JSON in QEMU 7.2. */
function fwcfgArguments({ document }: Domain): string[] {
  return document.sysinfo.flatMap((info) =>
    info.type !== 'fwcfg'
      ? []
      : info.entry.flatMap((entry) => [
          '-fw_cfg',
          entry.file === undefined
            ? `name=${entry.name},string=${optionValue(entry.value)}`
            : `name=${entry.name},file=${optionValue(entry.file)}`,
        ]),
  );
}

/** What the guest reads of its maker. */
function smbiosArguments({ document }: Domain): string[] {
  if (document.os.smbios?.mode !== 'sysinfo') return [];
  const option = (type: number, entries: readonly { readonly name: string; readonly value: string }[]) =>
    entries.length === 0
      ? []
      : ['-smbios', [`type=${type}`, ...entries.map((one) => `${one.name}=${optionValue(one.value)}`)].join(',')];
  return document.sysinfo.flatMap((info) =>
    info.type !== 'smbios'
      ? []
      : [
          ...option(0, info.bios?.entry ?? []),
          ...option(1, info.system?.entry ?? []),
          ...info.baseBoard.flatMap((board) => option(2, board.entry)),
          ...option(3, info.chassis?.entry ?? []),
          ...option(
            11,
            (info.oemStrings?.entry ?? []).map((value) => ({ name: 'value', value })),
          ),
        ],
  );
}

function lifecycleArguments({ document }: Domain): string[] {
  const [dog] = document.devices.watchdog;
  const actions = [
    document.on_reboot === 'destroy' ? 'reboot=shutdown' : 'reboot=reset',
    document.on_poweroff === 'preserve' ? 'shutdown=pause' : 'shutdown=poweroff',
    document.on_crash === 'preserve' ? 'panic=pause' : 'panic=shutdown',
    ...(dog === undefined ? [] : [`watchdog=${dog.action}`]),
  ];
  return ['-action', actions.join(',')];
}

/** Properties of devices that a machine has built in. */
function globalArguments(domain: Domain): string[] {
  const { document } = domain;
  const q35 = isQ35(domain.machine);
  const chipset = q35 ? 'ICH9-LPC' : 'PIIX4_PM';
  const off = (enabled: boolean | undefined) => (enabled === undefined ? undefined : enabled ? '0' : '1');
  const values: Readonly<Record<string, string | undefined>> = {
    [`${chipset}.disable_s3`]: off(document.pm?.['suspend-to-mem']?.enabled),
    [`${chipset}.disable_s4`]: off(document.pm?.['suspend-to-disk']?.enabled),
    'ICH9-LPC.noreboot': document.devices.watchdog.some((dog) => dog.model === 'itco') ? 'off' : undefined,
    'mch.extended-tseg-mbytes':
      document.features?.smm?.tseg === undefined ? undefined : String(Math.ceil(document.features.smm.tseg / 1024)),
  };
  return Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : ['-global', `${key}=${value}`]));
}
