/** What processes have cost, from /proc (proc(5)). */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

/** CPU time of all threads that these processes have now, ms: schedstat counts nanoseconds, where stat only counts 10 ms. */
export function cpuMs(pids: readonly number[]): number {
  const threads = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((thread) => `/proc/${pid}/task/${thread}`),
  );
  return threads.reduce((sum, thread) => sum + Number(read(`${thread}/schedstat`).split(' ')[0] ?? 0) / 1e6, 0);
}

/** Lets the peak of their memory begin anew. */
export function resetPeaks(pids: readonly number[]): void {
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** The sum of their peaks of resident memory since the last reset, MiB. */
export function peakMiB(pids: readonly number[]): number {
  return pids.reduce(
    (sum, pid) => sum + Number(/^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024,
    0,
  );
}

/** A thread may end while it is looked at. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
