/**
 * Puts virtual time and seeded chance under everything in this process (or thread) that asks for either: timers, clocks, signals that time out,
 * UUIDs.
 * What runs outside of a schedule goes on with the real ones.
 */
import crypto from 'node:crypto';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import type { Random } from './random.ts';
import type { TimedEvent, Timeline } from './timeline.ts';

let active: { readonly timeline: Timeline; readonly random: Random } | undefined;

/** From now on time and chance are those; undefined: the machine's again. */
export function live(on: { readonly timeline: Timeline; readonly random: Random } | undefined): void {
  active = on;
}

/** What `setTimeout` gives: as much of Node's Timeout as is used. */
class Timer {
  readonly #event: TimedEvent;

  constructor(event: TimedEvent) {
    this.#event = event;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return false;
  }

  cancel(): void {
    this.#event.run = undefined;
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  Date: globalThis.Date,
  performanceNow: performance.now.bind(performance),
  timeout: AbortSignal.timeout.bind(AbortSignal),
  delay: timersPromises.setTimeout,
  randomUUID: crypto.randomUUID,
};

type Run = (...args: unknown[]) => void;

function setVirtualTimeout(run: Run, ms = 0, ...args: unknown[]): unknown {
  if (active === undefined) return real.setTimeout(run, ms, ...args);
  const { timeline } = active;
  // Node's timers count whole milliseconds, at least one.
  return new Timer(timeline.after(timeline.current, Math.max(1, Math.trunc(ms)), () => run(...args)));
}

function clearVirtualTimeout(timer: unknown): void {
  if (timer instanceof Timer) timer.cancel();
  else real.clearTimeout(timer as NodeJS.Timeout | undefined);
}

/** As Node's own: what waits rejects with an AbortError whose cause is the signal's reason. */
function abortError(signal: AbortSignal): Error {
  const error = new Error('The operation was aborted', { cause: signal.reason });
  return Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' });
}

function delay<T>(ms?: number, value?: T, options?: { signal?: AbortSignal; ref?: boolean }): Promise<T> {
  if (active === undefined) return real.delay<T>(ms, value, options);
  const { timeline } = active;
  const signal = options?.signal;
  if (signal?.aborted === true) return Promise.reject(abortError(signal));
  return new Promise<T>((resolve, reject) => {
    const done = (): void => {
      signal?.removeEventListener('abort', abandon);
      resolve(value as T);
    };
    const event = timeline.after(timeline.current, Math.max(1, Math.trunc(ms ?? 0)), done);
    const abandon = (): void => {
      event.run = undefined;
      if (signal !== undefined) reject(abortError(signal));
    };
    signal?.addEventListener('abort', abandon, { once: true });
  });
}

function timeout(ms: number): AbortSignal {
  if (active === undefined) return real.timeout(ms);
  const { timeline } = active;
  const controller = new AbortController();
  timeline.after(timeline.current, ms, () =>
    controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
  );
  return controller.signal;
}

class VirtualDate extends real.Date {
  constructor(...args: [] | [number | string | Date]) {
    if (args.length === 0) super(VirtualDate.now());
    else super(args[0]);
  }

  static override now(): number {
    return active === undefined ? real.Date.now() : Math.floor(active.timeline.wallMs);
  }
}

/** Each life of an agent reads the scripts anew; here they are read once. */
function rememberScripts(): void {
  const { readFileSync } = fs;
  const texts = new Map<string, unknown>();
  const read = (...args: Parameters<typeof readFileSync>): unknown => {
    const path = String(args[0]);
    if (!path.endsWith('.lua')) return readFileSync(...args);
    const text = texts.get(path) ?? readFileSync(...args);
    texts.set(path, text);
    return text;
  };
  Object.assign(fs, { readFileSync: read });
}

/** Once for the process. Modules that were loaded before see it as well. */
export function installVirtualTime(): void {
  rememberScripts();
  const now = (): number => (active === undefined ? real.performanceNow() : active.timeline.now);
  Object.assign(globalThis, { setTimeout: setVirtualTimeout, clearTimeout: clearVirtualTimeout, Date: VirtualDate });
  Object.defineProperty(performance, 'now', { value: now, configurable: true });
  Object.defineProperty(performance, 'timeOrigin', { value: 1_800_000_000_000, configurable: true });
  Object.defineProperty(AbortSignal, 'timeout', { value: timeout, configurable: true });
  Object.assign(timersPromises, { setTimeout: delay });
  Object.assign(crypto, { randomUUID: () => active?.random.uuid() ?? real.randomUUID() });
  syncBuiltinESMExports();
}
