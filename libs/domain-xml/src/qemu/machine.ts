import type { Domain } from '../domain.ts';
import type { Cpu } from '../vocabulary/cpu.ts';
import { json, required } from './json.ts';

/** Machine, processor, memory, firmware or kernel, clock, and what happens at a guest's end. */
export function machineArguments(domain: Domain): string[] {
  const { document } = domain;
  const acpi = document.features?.acpi === undefined ? 'off' : 'on';
  return [
    '-name',
    `guest=${domain.name}`,
    '-uuid',
    domain.uuid,
    '-machine',
    `${domain.machine},usb=off,dump-guest-core=off,memory-backend=pc.ram,acpi=${acpi}`,
    '-accel',
    document.type === 'kvm' ? 'kvm' : 'tcg',
    '-cpu',
    cpuOption(required(document.cpu, 'CPU')),
    '-m',
    `size=${domain.memoryBytes / 1024}k`,
    '-object',
    json({ 'qom-type': 'memory-backend-ram', id: 'pc.ram', size: domain.memoryBytes }),
    '-overcommit',
    'mem-lock=off',
    '-smp',
    smpOption(domain),
    '-rtc',
    `base=${document.clock?.offset ?? 'utc'}`,
    ...bootArguments(domain),
    ...fwcfgArguments(domain),
    ...lifecycleArguments(domain),
  ];
}

function cpuOption(cpu: Cpu): string {
  if (cpu.mode === 'custom') return cpu.model.name;
  return cpu.migratable === undefined ? 'host' : `host,migratable=${cpu.migratable ? 'on' : 'off'}`;
}

function smpOption({ document: { vcpu, cpu } }: Domain): string {
  const { sockets, dies, cores, threads } = cpu?.topology ?? { sockets: vcpu.count, dies: 1, cores: 1, threads: 1 };
  return `${vcpu.count},sockets=${sockets},dies=${dies},cores=${cores},threads=${threads}`;
}

function bootArguments({ document: { os } }: Domain): string[] {
  const option = (name: string, value: string | undefined) => (value === undefined ? [] : [name, value]);
  return [
    '-boot',
    'strict=on',
    ...option('-bios', os.loader?.path),
    ...option('-kernel', os.kernel),
    ...option('-initrd', os.initrd),
    ...option('-append', os.cmdline),
  ];
}

/** `-fw_cfg` knows no JSON in QEMU 7.2, so names and values are restricted to characters without a meaning there. */
function fwcfgArguments({ document }: Domain): string[] {
  return document.sysinfo.flatMap((info) =>
    info.entry.flatMap((entry) => [
      '-fw_cfg',
      entry.file === undefined ? `name=${entry.name},string=${entry.value}` : `name=${entry.name},file=${entry.file}`,
    ]),
  );
}

function lifecycleArguments({ document }: Domain): string[] {
  const actions = [
    document.on_reboot === 'destroy' ? 'reboot=shutdown' : 'reboot=reset',
    document.on_poweroff === 'preserve' ? 'shutdown=pause' : 'shutdown=poweroff',
    document.on_crash === 'preserve' ? 'panic=pause' : 'panic=shutdown',
  ];
  return ['-action', actions.join(',')];
}
