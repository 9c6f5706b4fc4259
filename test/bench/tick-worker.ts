/**
 * Reads a guest's output as it grows, on a thread of its own. It looks at fixed intervals instead of being woken: QEMU writes every
 * character by itself, and waking somebody for each would take a good part of a core away from what is measured.
 */
/* oxlint-disable unicorn/require-post-message-target-origin -- that is for windows, this is a thread */
import { openSync, readSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type TickArrival, tickBlackout, TickReader } from '@ferry/guest';

export interface TickWork {
  readonly path: string;
  readonly everyMs: number;
  /** One word; not zero: stop and answer. */
  readonly stop: SharedArrayBuffer;
}

const { path, everyMs, stop } = workerData as TickWork;
const stopped = new Int32Array(stop);
const file = openSync(path, 'r');
const buffer = Buffer.alloc(64 * 1024);
const reader = new TickReader();
const arrivals: TickArrival[] = [];

parentPort?.postMessage('reading');
while (Atomics.load(stopped, 0) === 0) {
  const length = readSync(file, buffer);
  if (length > 0) arrivals.push(...reader.take(buffer.toString('latin1', 0, length), performance.now() * 1_000));
  else Atomics.wait(stopped, 0, 0, everyMs);
}
// The first read brought all that had been written before it.
const [{ atUs: firstUs } = { atUs: 0 }] = arrivals;
parentPort?.postMessage(tickBlackout(arrivals.filter(({ atUs }) => atUs > firstUs))?.gapUs);
