/**
 * One look for all who ask: whoever comes while it runs shares the next one, so that no answer is older than its question, and a thousand callers
 * cost two looks.
 */
export class SharedAnswers<T> {
  readonly #look: (key: string) => Promise<T>;
  readonly #running = new Map<string, Promise<T>>();
  readonly #next = new Map<string, Promise<T>>();

  constructor(look: (key: string) => Promise<T>) {
    this.#look = look;
  }

  /** Throws what the look throws, or the signal's reason; the look goes on for the others. */
  async get(key: string, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([this.#join(key), aborted]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #join(key: string): Promise<T> {
    const running = this.#running.get(key);
    if (running === undefined) return this.#start(key);
    const waiting = this.#next.get(key);
    if (waiting !== undefined) return waiting;
    const next = running.then(
      () => this.#startNext(key),
      () => this.#startNext(key),
    );
    this.#next.set(key, next);
    next.catch(() => undefined);
    return next;
  }

  #startNext(key: string): Promise<T> {
    this.#next.delete(key);
    return this.#start(key);
  }

  #start(key: string): Promise<T> {
    const answer = this.#look(key);
    this.#running.set(key, answer);
    const over = (): void => {
      // The next one, which waits for the same end, may have begun.
      if (this.#running.get(key) === answer) this.#running.delete(key);
    };
    answer.then(over, over);
    return answer;
  }
}
