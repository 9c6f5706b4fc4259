import type { Domain } from './domain.ts';

/** On which of the host's CPUs QEMU's threads run; undefined leaves them where the host puts them. */
/** In which class the kernel schedules a thread; a real-time one has a priority. */
export interface Scheduling {
  readonly scheduler: 'batch' | 'idle' | 'fifo' | 'rr';
  readonly priority?: number;
}

export interface ThreadPlace {
  readonly id: number;
  readonly cpus: readonly number[] | undefined;
  readonly scheduling?: Scheduling;
}

export interface Pinning {
  /** What none of the others is: QEMU's main thread and whatever it starts. */
  readonly emulator: readonly number[] | undefined;
  /** How its main thread is scheduled; the others begin as they are. */
  readonly emulatorScheduling?: Scheduling;
  readonly vcpus: readonly ThreadPlace[];
  readonly iothreads: readonly ThreadPlace[];
}

/** What a document asks of the host's scheduler; `<vcpu cpuset>` is for everything that has no pin of its own (formatdomain.html#cpu-allocation). */
export function pinningOf({ document: { vcpu, cputune, iothreadids, iothreads = 0 } }: Domain): Pinning {
  const cpus = (pin: { readonly cpuset: readonly number[] } | undefined) => pin?.cpuset ?? vcpu.cpuset;
  const threads = iothreadids?.iothread.map((one) => one.id) ?? Array.from({ length: iothreads }, (_, i) => i + 1);
  const scheduled = (all: readonly (Scheduling & { readonly ids: readonly number[] })[], id: number) => {
    const found = all.find(({ ids }) => ids.includes(id));
    return found === undefined ? {} : { scheduling: scheduling(found) };
  };
  const vcpuClasses = (cputune?.vcpusched ?? []).map(({ vcpus, ...rest }) => ({ ids: vcpus, ...rest }));
  const iothreadClasses = (cputune?.iothreadsched ?? []).map(({ iothreads: ids, ...rest }) => ({ ids, ...rest }));
  return {
    ...(cputune?.emulatorsched === undefined ? {} : { emulatorScheduling: scheduling(cputune.emulatorsched) }),
    emulator: cpus(cputune?.emulatorpin),
    vcpus: Array.from({ length: vcpu.current ?? vcpu.count }, (_, id) => ({
      id,
      cpus: cpus(cputune?.vcpupin.find((pin) => pin.vcpu === id)),
      ...scheduled(vcpuClasses, id),
    })),
    iothreads: threads.map((id) => ({
      id,
      cpus: cpus(cputune?.iothreadpin.find((pin) => pin.iothread === id)),
      ...scheduled(iothreadClasses, id),
    })),
  };
}

/** A class of its own has no priority (sched(7)). */
const scheduling = ({ scheduler, priority }: Scheduling): Scheduling =>
  scheduler === 'fifo' || scheduler === 'rr' ? { scheduler, priority: priority ?? 1 } : { scheduler };
