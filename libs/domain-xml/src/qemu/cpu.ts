import type { Domain } from '../domain.ts';
import type { Cpu } from '../vocabulary/cpu.ts';
import type { Clock, Features } from '../vocabulary/features.ts';
import { onOff, required } from './json.ts';

/** The `-cpu` option: a model and its switches, all of them words that the vocabulary has checked. */
export function cpuOption({ document }: Domain): string {
  const cpu = required(document.cpu, 'CPU');
  const { features, clock, devices } = document;
  return [
    modelOf(cpu, document.type),
    ...cpu.feature.flatMap(({ policy, name }) => {
      if (policy === 'optional') return [];
      return [`${name}=${policy === 'force' || policy === 'require' ? 'on' : 'off'}`];
    }),
    ...timerFlags(clock),
    ...kvmFlags(features),
    ...hypervFlags(features?.hyperv),
    ...(devices.panic.some((panic) => panic.model === 'hyperv') ? ['hv-crash'] : []),
    ...cacheFlags(cpu),
    ...addressFlags(cpu),
  ].join(',');
}

function modelOf(cpu: Cpu, type: 'qemu' | 'kvm'): string {
  if (cpu.mode === 'custom') {
    const { name, vendor_id: vendor } = required(cpu.model, 'CPU model');
    return vendor === undefined ? name : `${name},vendor=${vendor}`;
  }
  if (cpu.mode === 'maximum') return `max,migratable=${onOff(cpu.migratable ?? true)}`;
  const base = type === 'kvm' ? 'host' : 'max';
  const vendor = cpu.mode === 'host-model' ? cpu.model?.vendor_id : undefined;
  const named = vendor === undefined ? base : `${base},vendor=${vendor}`;
  return cpu.mode === 'host-model' ? named : `${base},migratable=${onOff(cpu.migratable ?? true)}`;
}

const flag = (name: string, value: boolean | undefined): string[] =>
  value === undefined ? [] : [`${name}=${onOff(value)}`];
/** `<pmu/>` without a state is on. */
const stateOf = (one: { readonly state?: boolean } | undefined): boolean | undefined =>
  one === undefined ? undefined : (one.state ?? true);

function timerFlags(clock: Clock | undefined): string[] {
  return (clock?.timer ?? []).flatMap((timer) => {
    if (timer.name === 'kvmclock') return flag('kvmclock', timer.present);
    if (timer.name === 'hypervclock') return timer.present === true ? ['hv-time=on'] : [];
    if (timer.name === 'tsc' && timer.frequency !== undefined) return [`tsc-frequency=${timer.frequency}`];
    return [];
  });
}

function kvmFlags(features: Features | undefined): string[] {
  const kvm = features?.kvm;
  return [
    ...(kvm?.hidden?.state === true ? ['kvm=off'] : []),
    ...(kvm?.['hint-dedicated']?.state === true ? ['kvm-hint-dedicated=on'] : []),
    ...(kvm?.['poll-control']?.state === true ? ['kvm-poll-control=on'] : []),
    ...flag('kvm-pv-ipi', kvm?.['pv-ipi']?.state),
    ...flag('kvm-pv-eoi', features?.apic?.eoi),
    ...flag('kvm-pv-unhalt', stateOf(features?.pvspinlock)),
    ...flag('pmu', stateOf(features?.pmu)),
  ];
}

/** QEMU's names of the Hyper-V enlightenments are libvirt's. */
function hypervFlags(hyperv: Features['hyperv']): string[] {
  if (hyperv === undefined) return [];
  if (hyperv.mode === 'passthrough') return ['hv-passthrough=on'];
  const simple = [
    'relaxed',
    'vapic',
    'vpindex',
    'runtime',
    'synic',
    'reset',
    'frequencies',
    'reenlightenment',
    'tlbflush',
    'ipi',
    'evmcs',
    'avic',
    'emsr_bitmap',
    'xmm_input',
  ] as const;
  return [
    ...simple.flatMap((name) => (hyperv[name]?.state === true ? [`hv-${name.replace('_', '-')}=on`] : [])),
    ...(['direct', 'extended'] as const).flatMap((how) =>
      hyperv.tlbflush?.state === true && hyperv.tlbflush[how]?.state === true
        ? [`hv-tlbflush-${how === 'extended' ? 'ext' : how}=on`]
        : [],
    ),
    ...(hyperv.spinlocks?.state === true
      ? [`hv-spinlocks=0x${(hyperv.spinlocks.retries ?? 0x1fff).toString(16)}`]
      : []),
    ...(hyperv.stimer?.state === true
      ? ['hv-stimer=on', ...(hyperv.stimer.direct?.state === true ? ['hv-stimer-direct=on'] : [])]
      : []),
    ...(hyperv.vendor_id?.state === true && hyperv.vendor_id.value !== undefined
      ? [`hv-vendor-id=${hyperv.vendor_id.value}`]
      : []),
  ];
}

/** qemuBuildCpuCommandLine: which caches the guest is told of. */
function cacheFlags({ mode, cache }: Cpu): string[] {
  if (cache === undefined) return [];
  // Only such CPUs know of the host's.
  const isHosts = mode === 'host-passthrough' || mode === 'maximum';
  const host = isHosts ? [`host-cache-info=${onOff(cache.mode === 'passthrough')}`] : [];
  return [...host, `l3-cache=${onOff(cache.mode === 'emulate')}`];
}

function addressFlags({ maxphysaddr }: Cpu): string[] {
  if (maxphysaddr === undefined) return [];
  if (maxphysaddr.mode === 'emulate')
    return maxphysaddr.bits === undefined ? ['host-phys-bits=off'] : [`phys-bits=${maxphysaddr.bits}`];
  return [
    'host-phys-bits=on',
    ...(maxphysaddr.limit === undefined ? [] : [`host-phys-bits-limit=${maxphysaddr.limit}`]),
  ];
}
