import type { Of } from '../codec/element.ts';
import { element } from '../codec/element-codec.ts';
import { attribute, children, optionalChild } from '../codec/fields.ts';
import { integer } from '../codec/scalar.ts';
import { numberSet } from './cpu.ts';
import { cpuLimits, schedulers } from './limits.ts';

const cpus = attribute(numberSet(4095));
const share = 'Ferry divides no caches or memory bandwidth: remove it';

/** On which of the host's CPUs QEMU's threads run, how they are scheduled, and how much of the processors they get. */
export const cputune = element(
  {
    ...cpuLimits,
    vcpupin: children(element({ vcpu: attribute(integer(0, 1023)), cpuset: cpus })),
    emulatorpin: optionalChild(element({ cpuset: cpus })),
    iothreadpin: children(element({ iothread: attribute(integer(1, 1024)), cpuset: cpus })),
    ...schedulers,
  },
  {
    refused: {
      cachetune: share,
      memorytune: share,
    },
    check: ({ vcpupin, iothreadpin }, report) => {
      const twice = (of: string, ids: readonly number[]) => {
        const id = ids.find((one, i) => ids.indexOf(one) !== i);
        if (id !== undefined) report('xml-invalid', `/${of}`, `${id} is pinned twice`, 'Remove one');
      };
      twice(
        'vcpupin',
        vcpupin.map((pin) => pin.vcpu),
      );
      twice(
        'iothreadpin',
        iothreadpin.map((pin) => pin.iothread),
      );
    },
  },
);

export type Cputune = Of<typeof cputune>;
