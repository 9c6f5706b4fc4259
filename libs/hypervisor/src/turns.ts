/** So many do something at once; the others wait for their turn, in the order in which they came. */

/** Who has it, ends it. */
export interface Turn extends Disposable {
  /** Does not keep the others waiting any more, whatever is done still. */
  end(): void;
}

export class Turns {
  readonly #waiting: (() => void)[] = [];
  readonly #most: number;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** How many wait for theirs. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Throws the signal's reason. */
  async take(signal: AbortSignal): Promise<Turn> {
    signal.throwIfAborted();
    if (this.#taken < this.#most) this.#taken += 1;
    else await this.#wait(signal);
    let ended = false;
    const end = (): void => {
      if (ended) return;
      ended = true;
      const next = this.#waiting.shift();
      // Handed on, not given back: nobody may come in between.
      if (next === undefined) this.#taken -= 1;
      else next();
    };
    return { end, [Symbol.dispose]: end };
  }

  /** Keeps its turn until `act` is done. Throws the signal's reason, and what `act` does. */
  async run<T>(act: () => Promise<T>, signal: AbortSignal): Promise<T> {
    using _turn = await this.take(signal);
    // Without await the turn would end as soon as it has begun.
    return await act();
  }

  #wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const mine = (): void => {
      signal.removeEventListener('abort', leave);
      resolve();
    };
    const leave = (): void => {
      this.#waiting.splice(this.#waiting.indexOf(mine), 1);
      reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    this.#waiting.push(mine);
    return promise;
  }
}
