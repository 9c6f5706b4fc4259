import { QmpError } from './errors.ts';

/** Events that may wait to be looked at. A migration makes a few a second; more means that nobody looks. @internal */
export const queueMax = 1024;

/**
 * Events between the moment they come and the moment somebody looks. Ends by throwing: the reason of whichever signal ends it, after
 * what came before has been handed out.
 */
export class EventQueue<T> implements AsyncIterableIterator<T, undefined> {
  readonly #queue: T[] = [];
  readonly #release: () => void;
  /** The one `next()` that waits; `for await` never has two. */
  #waiting: { resolve(result: IteratorResult<T, undefined>): void; reject(error: Error): void } | undefined;
  #end: { readonly error: Error } | 'returned' | undefined;

  /** `subscribe` is called at once with where events are put; what it returns is disposed at the end. */
  constructor(subscribe: (put: (event: T) => void) => Disposable, ends: readonly AbortSignal[]) {
    const listening = new AbortController();
    const subscription = subscribe((event) => this.#put(event));
    this.#release = () => {
      listening.abort();
      subscription[Symbol.dispose]();
    };
    for (const signal of ends) {
      const end = () => this.#finish({ error: signal.reason as Error });
      if (signal.aborted) end();
      else signal.addEventListener('abort', end, { once: true, signal: listening.signal });
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event; waits for it. */
  next(): Promise<IteratorResult<T, undefined>> {
    const event = this.#queue.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.#end === 'returned') return Promise.resolve({ done: true, value: undefined });
    if (this.#end) return Promise.reject(this.#end.error);
    return new Promise((resolve, reject) => {
      this.#waiting?.reject(new Error('one next() at a time'));
      this.#waiting = { resolve, reject };
    });
  }

  /** Ends the subscription; `for await` calls it when left early. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#queue.length = 0;
    this.#finish('returned');
    return Promise.resolve({ done: true, value: undefined });
  }

  #put(event: T): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting.resolve({ done: false, value: event });
    else if (this.#queue.push(event) > queueMax) {
      this.#finish({
        error: new QmpError('qemu-protocol', `${queueMax} events of QEMU's wait and nobody looks at them`),
      });
    }
  }

  #finish(end: { readonly error: Error } | 'returned'): void {
    if (this.#end) return;
    this.#end = end;
    this.#release();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (end === 'returned') waiting?.resolve({ done: true, value: undefined });
    else waiting?.reject(end.error);
  }
}
