import { element, textElement } from '../codec/element-codec.ts';
import { attribute, child, children, optionalAttribute, optionalChild } from '../codec/fields.ts';
import { integer, anyPath, oneOf } from '../codec/scalar.ts';
import { numberSet } from './cpu.ts';
import { anyMemoryKib } from './memory.ts';

const optionalNumber = (min: number, max: number) => optionalChild(textElement(integer(min, max)));

const periodUs = optionalNumber(0, 1_000_000);
/** 0 and less: none. */
const quotaUs = optionalNumber(-(2 ** 44), 17_592_186_044_415);

/** How much of the host's processors all or some of QEMU's threads get. */
export const cpuLimits = {
  shares: optionalNumber(0, 262_144),
  period: periodUs,
  quota: quotaUs,
  global_period: periodUs,
  global_quota: quotaUs,
  emulator_period: periodUs,
  emulator_quota: quotaUs,
  iothread_period: periodUs,
  iothread_quota: quotaUs,
};

interface Scheduling {
  readonly scheduler: 'batch' | 'idle' | 'fifo' | 'rr';
  readonly priority?: number;
}
const scheduling = {
  scheduler: attribute(oneOf('batch', 'idle', 'fifo', 'rr')),
  priority: optionalAttribute(integer(0, 99)),
};
const isReal = {
  check: (
    { scheduler, priority }: Scheduling,
    report: (kind: 'xml-invalid', below: string, what: string, hint: string) => void,
  ) => {
    const real = scheduler === 'fifo' || scheduler === 'rr';
    if (real && priority === undefined) report('xml-invalid', '', 'attribute priority is missing', 'Give 1 to 99');
  },
};

/** In which class the kernel schedules threads. */
export const schedulers = {
  vcpusched: children(element({ vcpus: attribute(numberSet(1023)), ...scheduling }, isReal)),
  iothreadsched: children(element({ iothreads: attribute(numberSet(1024)), ...scheduling }, isReal)),
  emulatorsched: optionalChild(element(scheduling, isReal)),
};

const memory = optionalChild(anyMemoryKib);
/** How much memory QEMU gets. */
export const memtune = element({
  hard_limit: memory,
  soft_limit: memory,
  min_guarantee: memory,
  swap_hard_limit: memory,
});

const weight = optionalNumber(0, 1000);
const rate = optionalNumber(0, 2 ** 53 - 1);
/** How much of the host's disks QEMU gets. */
export const blkiotune = element({
  weight,
  device: children(
    element({
      path: child(textElement(anyPath)),
      weight,
      read_iops_sec: rate,
      write_iops_sec: rate,
      read_bytes_sec: rate,
      write_bytes_sec: rate,
    }),
  ),
});
