/** Gauges of the process itself. */
import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { build } from '@ferry/migration';
import { observe } from './metrics.ts';

/** How often the event loop’s delay is sampled, and for how long it is looked back at least, ms. */
const sampleMs = 20;
const lookBackMs = 10_000;

/** From now on they are exported. */
export function observeProcess(): void {
  const delays = monitorEventLoopDelay({ resolution: sampleMs });
  delays.enable();
  const seconds = (nanoseconds: number): number =>
    // Of no sample Node gives NaN; every sample has waited for the timer that takes it.
    Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e9 - sampleMs / 1e3) : 0;
  const read = () => ({
    loopDelayMean: [{ value: seconds(delays.mean) }],
    loopDelayP99: [{ value: seconds(delays.percentile(99)) }],
    loopDelayMax: [{ value: seconds(delays.max) }],
  });
  let known = read();
  let readMs = -Infinity;
  observe(() => {
    // There may be two who export, and each shall see what the other has.
    if (performance.now() - readMs >= lookBackMs) {
      known = read();
      readMs = performance.now();
      delays.reset();
    }
    const { userCPUTime, systemCPUTime } = process.resourceUsage();
    return {
      ...known,
      processCpu: [
        { value: userCPUTime / 1e6, labels: { 'cpu.mode': 'user' } },
        { value: systemCPUTime / 1e6, labels: { 'cpu.mode': 'system' } },
      ],
      processMemory: [{ value: process.memoryUsage.rss() }],
      heapUsed: [{ value: process.memoryUsage().heapUsed }],
      openFiles: [{ value: readdirSync('/proc/self/fd').length }],
      uptime: [{ value: process.uptime() }],
      build: [
        {
          value: 1,
          labels: {
            'service.version': build.version,
            'ferry.commit': build.commit,
            'process.runtime.version': process.versions.node,
          },
        },
      ],
    };
  });
}
