import type { Clock } from '../clock.ts';

/** A clock that stands still until a test moves it. */
export class VirtualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; fn: () => void }>();

  now(): number {
    return 1_800_000_000_000 + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, fn: () => void): Disposable {
    const timer = { at: this.#now + ms, fn };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  /** When the next timer is due, ms from now; undefined if there is none. */
  get nextIn(): number | undefined {
    const next = this.#next();
    return next && next.at - this.#now;
  }

  /** Lets time pass, timer by timer, with what each sets off done before the next. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (let next = this.#next(); next !== undefined && next.at <= until; next = this.#next()) {
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fn();
      await settled();
    }
    this.#now = until;
    await settled();
  }

  /** Lets time pass while the process stands still: no timer fires. */
  stall(ms: number): void {
    this.#now += ms;
  }

  #next(): { at: number; fn: () => void } | undefined {
    return [...this.#timers].toSorted((a, b) => a.at - b.at)[0];
  }
}

/** All promises that can go on without outside help have gone on. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
