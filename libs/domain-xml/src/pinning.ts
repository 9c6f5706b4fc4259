import type { Domain } from './domain.ts';

/** On which of the host's CPUs QEMU's threads run; undefined leaves them where the host puts them. */
export interface Pinning {
  /** What none of the others is: QEMU's main thread and whatever it starts. */
  readonly emulator: readonly number[] | undefined;
  readonly vcpus: readonly { readonly id: number; readonly cpus: readonly number[] | undefined }[];
  readonly iothreads: readonly { readonly id: number; readonly cpus: readonly number[] | undefined }[];
}

/** What a document asks of the host's scheduler; `<vcpu cpuset>` is for everything that has no pin of its own (formatdomain.html#cpu-allocation). */
export function pinningOf({ document: { vcpu, cputune, iothreadids, iothreads = 0 } }: Domain): Pinning {
  const cpus = (pin: { readonly cpuset: readonly number[] } | undefined) => pin?.cpuset ?? vcpu.cpuset;
  const threads = iothreadids?.iothread.map((one) => one.id) ?? Array.from({ length: iothreads }, (_, i) => i + 1);
  return {
    emulator: cpus(cputune?.emulatorpin),
    vcpus: Array.from({ length: vcpu.current ?? vcpu.count }, (_, id) => ({
      id,
      cpus: cpus(cputune?.vcpupin.find((pin) => pin.vcpu === id)),
    })),
    iothreads: threads.map((id) => ({ id, cpus: cpus(cputune?.iothreadpin.find((pin) => pin.iothread === id)) })),
  };
}
