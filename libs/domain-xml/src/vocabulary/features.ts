import type { Of } from '../codec/element.ts';
import { choice, element } from '../codec/element-codec.ts';
import { attribute, attributeOr, children, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, oneOf, pattern } from '../codec/scalar.ts';
import { onOff, present, state, yesNo } from './common.ts';
import { memoryKib } from './memory.ts';

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
    element({
      state: attribute(onOff),
      value: optionalAttribute(pattern(/^[A-Za-z0-9 _.+-]{1,12}$/, 'a name of at most 12 characters', ['KVM Hv'])),
    }),
  ),
  frequencies: stateRequired,
  reenlightenment: stateRequired,
  tlbflush: stateRequired,
  ipi: stateRequired,
  evmcs: stateRequired,
  avic: stateRequired,
});

/** What the machine has beyond its devices. */
export const features = element(
  {
    acpi: optionalChild(present),
    apic: optionalChild(element({ eoi: optionalAttribute(onOff) })),
    pae: optionalChild(present),
    hyperv: optionalChild(hyperv),
    kvm: optionalChild(
      element(
        {
          hidden: stateRequired,
          'hint-dedicated': stateRequired,
          'poll-control': stateRequired,
          'pv-ipi': stateRequired,
        },
        { refused: { 'dirty-ring': 'Ferry leaves the way in which dirty pages are tracked to QEMU' } },
      ),
    ),
    pvspinlock: optionalChild(state),
    pmu: optionalChild(state),
    vmport: optionalChild(element({ state: attribute(onOff) })),
    ioapic: optionalChild(element({ driver: attribute(oneOf('kvm', 'qemu')) })),
    smm: optionalChild(element({ state: optionalAttribute(onOff), tseg: optionalChild(memoryKib) })),
    vmcoreinfo: optionalChild(state),
  },
  {
    refused: {
      hap: 'It is a choice of Xen',
      viridian: 'It is a choice of Xen',
      privnet: 'It belongs to containers',
      gic: 'It belongs to ARM machines',
    },
  },
);

const timers = choice('name', {
  rtc: element(
    {
      tickpolicy: optionalAttribute(oneOf('delay', 'catchup')),
      track: optionalAttribute(oneOf('guest', 'wall')),
    },
    { refused: { catchup: 'QEMU cannot tune it' } },
  ),
  pit: element(
    { tickpolicy: optionalAttribute(oneOf('delay', 'discard')) },
    { refused: { catchup: 'QEMU cannot tune it' } },
  ),
  hpet: element({ present: optionalAttribute(yesNo) }),
  kvmclock: element({ present: optionalAttribute(yesNo) }),
  hypervclock: element({ present: optionalAttribute(yesNo) }),
  tsc: element({ present: optionalAttribute(yesNo), frequency: optionalAttribute(integer(1, 2 ** 50)) }),
});

/** What time it is in the guest. */
export const clock = choice(
  'offset',
  {
    utc: element({ timer: children(timers) }),
    localtime: element({ timer: children(timers) }),
    absolute: element({ start: attribute(integer(0, 253_402_300_799)), timer: children(timers) }),
  },
  {
    fallback: 'utc',
    refused: {
      variable: 'The guest would lose its adjustment when it is moved: use utc',
      timezone: 'Use utc, and set the time zone in the guest',
    },
  },
);

export type Features = Of<typeof features>;
export type Clock = Of<typeof clock>;
