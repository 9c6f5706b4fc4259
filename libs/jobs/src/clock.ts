/** Time as this package sees it; tests bring their own. */
export interface Clock {
  /** Milliseconds since 1970: for people and records, never for deciding. */
  now(): number;
  /** Milliseconds that only ever grow: for deciding. */
  monotonic(): number;
  /** Calls back once, after that many milliseconds; disposing of it calls that off. */
  after(ms: number, fn: () => void): Disposable;
}

/** The machine's clock. Its timers do not keep a process alive: an agent lives by its sockets. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms).unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
};

/** Waits that long, or until the signal aborts: then throws its reason. */
export async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  using _timer = clock.after(ms, resolve);
  const aborted = () => reject(signal.reason);
  signal.addEventListener('abort', aborted, { once: true });
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}
