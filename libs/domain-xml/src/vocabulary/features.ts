import type { Of } from '../codec/element.ts';
import { choice, element, type Report } from '../codec/element-codec.ts';
import { attribute, attributeOr, children, hostSide, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, oneOf, pattern, type Scalar, shown } from '../codec/scalar.ts';
import { onOff, present, state, yesNo } from './common.ts';
import { memoryInMib, memoryKib } from './memory.ts';

const stateRequired = optionalChild(element({ state: attribute(onOff) }));

/** What a Windows guest is offered by the hypervisor. */
const hyperv = element({
  mode: attributeOr(oneOf('custom', 'passthrough'), 'custom'),
  relaxed: stateRequired,
  vapic: stateRequired,
  spinlocks: optionalChild(
    element({ state: attribute(onOff), retries: optionalAttribute(integer(4095, 2 ** 32 - 1)) }),
  ),
  vpindex: stateRequired,
  runtime: stateRequired,
  synic: stateRequired,
  stimer: optionalChild(
    element({ state: attribute(onOff), direct: optionalChild(element({ state: attribute(onOff) })) }),
  ),
  reset: stateRequired,
  vendor_id: optionalChild(
    element(
      {
        state: attribute(onOff),
        value: optionalAttribute(pattern(/^[A-Za-z0-9 _.+-]{1,12}$/, 'a name of at most 12 characters', ['KVM Hv'])),
      },
      {
        check: ({ state: isOn, value }, report) => {
          if (isOn && value === undefined)
            report('xml-invalid', '', 'attribute value is missing', 'Give a name of at most 12 characters');
        },
      },
    ),
  ),
  frequencies: stateRequired,
  reenlightenment: stateRequired,
  tlbflush: optionalChild(
    element({
      state: attribute(onOff),
      direct: stateRequired,
      extended: stateRequired,
    }),
  ),
  ipi: stateRequired,
  evmcs: stateRequired,
  avic: stateRequired,
  emsr_bitmap: stateRequired,
  xmm_input: stateRequired,
});

function checkDirtyRing(
  { state: isOn, size }: { readonly state: boolean; readonly size?: number },
  report: Report,
): void {
  if (!isOn) return;
  if (size === undefined)
    report('xml-invalid', '', 'attribute size is missing', 'Give a power of two from 1024 to 65536');
  else if (!Number.isInteger(Math.log2(size)))
    report('xml-invalid', '/@size', `${size} is not a power of two`, 'Give a power of two from 1024 to 65536');
}

/** What the machine has beyond its devices. */
export const features = element(
  {
    acpi: optionalChild(present),
    apic: optionalChild(element({ eoi: optionalAttribute(onOff) })),
    pae: optionalChild(present),
    /** Of these three libvirt's QEMU driver makes nothing: they are choices of other drivers. */
    hap: hostSide(optionalChild(state)),
    viridian: hostSide(optionalChild(present)),
    privnet: hostSide(optionalChild(present)),
    hyperv: optionalChild(hyperv),
    kvm: optionalChild(
      element({
        hidden: stateRequired,
        'hint-dedicated': stateRequired,
        'poll-control': stateRequired,
        'pv-ipi': stateRequired,
        'dirty-ring': hostSide(
          optionalChild(
            element(
              { state: attribute(onOff), size: optionalAttribute(integer(1024, 65536)) },
              { check: checkDirtyRing },
            ),
          ),
        ),
      }),
    ),
    pvspinlock: optionalChild(state),
    pmu: optionalChild(state),
    vmport: optionalChild(element({ state: attribute(onOff) })),
    ioapic: optionalChild(element({ driver: attribute(oneOf('kvm', 'qemu')) })),
    smm: optionalChild(element({ state: optionalAttribute(onOff), tseg: optionalChild(memoryInMib) })),
    vmcoreinfo: optionalChild(state),
    ps2: optionalChild(element({ state: attribute(onOff) })),
    tcg: hostSide(optionalChild(element({ 'tb-cache': optionalChild(memoryKib) }))),
  },
  {
    refused: {
      'async-teardown': 'QEMU 7.2 does not let go of memory that way',
      gic: 'It belongs to ARM machines',
    },
  },
);

const ticks = integer(0, 2 ** 32 - 1);
/** How fast missed ticks are made up for: QEMU cannot be told, and libvirt keeps it without effect (qemuBuildClockArgStr). */
const catchup = hostSide(
  optionalChild(
    element({ threshold: optionalAttribute(ticks), slew: optionalAttribute(ticks), limit: optionalAttribute(ticks) }),
  ),
);

/** What libvirt takes of every timer, and its QEMU driver looks at of none (virDomainTimerDefParseXML). */
const mode = hostSide(optionalAttribute(oneOf('auto', 'native', 'emulate', 'paravirt', 'smpsafe')));
const idle = {
  mode,
  tickpolicy: hostSide(optionalAttribute(oneOf('delay', 'catchup', 'merge', 'discard'))),
  track: hostSide(optionalAttribute(oneOf('boot', 'guest', 'wall', 'realtime'))),
  catchup,
};
const frequency = optionalAttribute(integer(1, 2 ** 50));

/** What becomes of missed ticks (qemuValidateDomainDefClockTimers). */
const timers = choice('name', {
  rtc: element({
    /** Of this one and the next libvirt's QEMU driver does not look at it: every x86 machine has them. */
    present: hostSide(optionalAttribute(yesNo)),
    tickpolicy: optionalAttribute(oneOf('delay', 'catchup')),
    track: optionalAttribute(oneOf('guest', 'wall', 'realtime')),
    mode,
    frequency: hostSide(frequency),
    catchup,
  }),
  pit: element({
    present: hostSide(optionalAttribute(yesNo)),
    tickpolicy: optionalAttribute(oneOf('delay', 'discard', 'catchup')),
    mode,
    track: idle.track,
    frequency: hostSide(frequency),
    catchup,
  }),
  /** Of this one libvirt's QEMU driver looks at `present` alone. */
  hpet: element({
    present: optionalAttribute(yesNo),
    ...idle,
    frequency: hostSide(frequency),
  }),
  kvmclock: element({ present: optionalAttribute(yesNo), ...idle, frequency: hostSide(frequency) }),
  hypervclock: element({ present: optionalAttribute(yesNo), ...idle, frequency: hostSide(frequency) }),
  tsc: element({ present: optionalAttribute(yesNo), frequency, ...idle }),
});

/** Only `reset`: a number makes the clock a variable one, which is read before. */
const adjustment = hostSide(optionalAttribute(oneOf('reset')));
const timeZone: Scalar<string> = {
  decode: (raw) => {
    try {
      Intl.DateTimeFormat('en', { timeZone: raw });
      return { value: raw };
    } catch {
      return { kind: 'xml-invalid', wrong: `${shown(raw)} is not a time zone`, hint: 'Give one like Europe/Paris' };
    }
  },
  encode: (value) => value,
  accepts: 'a time zone like Europe/Paris',
  samples: ['Europe/Paris', 'UTC'],
};

interface Timed {
  readonly timer: readonly { readonly name: string }[];
}
/** Of two timers of a name only one could be heeded. */
const once = {
  check: ({ timer: all }: Timed, report: Report): void =>
    all.forEach(({ name }, i) => {
      if (all.findIndex((one) => one.name === name) < i)
        report('xml-invalid', `/timer[${i + 1}]/@name`, `${name} is given twice`, 'Remove one');
    }),
};

const anyClock = choice(
  'offset',
  {
    utc: element({ adjustment, timer: children(timers) }, once),
    localtime: element({ adjustment, timer: children(timers) }, once),
    /** What the clock on a wall of that place shows when the guest is started. */
    timezone: element({ timezone: attribute(timeZone), timer: children(timers) }, once),
    /** So many seconds from the host's clock when the guest is started. */
    variable: element(
      {
        adjustment: attributeOr(integer(-(2 ** 40), 2 ** 40), 0),
        basis: attributeOr(oneOf('utc', 'localtime'), 'utc'),
        timer: children(timers),
      },
      once,
    ),
    absolute: element({ start: attribute(integer(0, 253_402_300_799)), timer: children(timers) }, once),
  },
  {
    fallback: 'utc',
  },
);

/** What time it is in the guest. A clock that is some seconds off is a variable one (virDomainClockDefParse). */
export const clock: typeof anyClock = {
  ...anyClock,
  decode: (node, path, findings) => {
    const offset = node.attributes.get('offset') ?? 'utc';
    const seconds = node.attributes.get('adjustment');
    const isOff = (offset === 'utc' || offset === 'localtime') && seconds !== undefined && seconds !== 'reset';
    if (!isOff) return anyClock.decode(node, path, findings);
    const attributes = new Map([...node.attributes, ['offset', 'variable'], ['basis', offset]]);
    return anyClock.decode({ ...node, attributes }, path, findings);
  },
};

export type Features = Of<typeof features>;
export type Clock = Of<typeof clock>;
