/** The blackout as a guest's user sees it: the longest silence in its output while it is watched. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { TickWork } from './tick-worker.ts';

/** How often the output is looked at, ms; with the guest's tick this is what a measured blackout may be too long by. */
export const lookEveryMs = 0.25;

export class TickWatch implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #stop: Int32Array;
  readonly #gone: Promise<unknown>;

  private constructor(path: string) {
    const stop = new SharedArrayBuffer(4);
    const work: TickWork = { path, everyMs: lookEveryMs, stop };
    this.#worker = new Worker(new URL('tick-worker.ts', import.meta.url), { workerData: work });
    this.#gone = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#stop = new Int32Array(stop);
  }

  /** Begins to watch the output in the file `path`, which must be there. */
  static async start(path: string, signal: AbortSignal): Promise<TickWatch> {
    const watch = new TickWatch(path);
    try {
      await once(watch.#worker, 'message', { signal });
      return watch;
    } catch (error) {
      await watch[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Ends watching; the longest time between two ticks that follow each other, ms. */
  async blackoutMs(signal: AbortSignal): Promise<number | undefined> {
    const answer = once(this.#worker, 'message', { signal });
    this.#end();
    const [gapUs] = (await answer) as [number | undefined];
    return gapUs === undefined ? undefined : gapUs / 1_000;
  }

  #end(): void {
    Atomics.store(this.#stop, 0, 1);
    Atomics.notify(this.#stop, 0);
  }

  /** Lets the thread end by itself: Node 24 crashes now and then when one that waits in Atomics.wait is terminated. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    await this.#gone;
  }
}
