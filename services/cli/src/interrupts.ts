/** Ctrl-C, twice: the first asks, the second leaves. */
import type { AbortAsked } from './migration.ts';

/** Counts requests to end. Dispose of it to give signals their default meaning back. */
export class Interrupts implements Disposable {
  readonly #first = new AbortController();
  readonly #second = new AbortController();
  readonly #listener = () => (this.#first.signal.aborted ? this.#second : this.#first).abort(new Error('interrupted'));

  /** What came of asking at the first one. */
  abort: AbortAsked = 'not-asked';

  constructor() {
    process.on('SIGINT', this.#listener);
    process.on('SIGTERM', this.#listener);
  }

  /** Aborts at the first Ctrl-C or SIGTERM. */
  get first(): AbortSignal {
    return this.#first.signal;
  }

  /** Aborts at the second. */
  get second(): AbortSignal {
    return this.#second.signal;
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#listener);
    process.off('SIGTERM', this.#listener);
  }
}
