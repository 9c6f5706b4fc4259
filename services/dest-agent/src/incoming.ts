/** Watches one QEMU take a guest in. Knows QEMU, not the protocol. */
import { MigrationError } from '@ferry/migration';
import type { Monitor, PreparedCommand, RunState } from '@ferry/qemu-qmp';

export class Incoming implements Disposable {
  readonly #monitor: Monitor;
  readonly #listening: Disposable;
  /** QEMU has all of the command but its end from the beginning; undefined once it was sent. */
  #cont: PreparedCommand<'cont'> | undefined;
  readonly #loaded = Promise.withResolvers<number>();
  readonly #failed = Promise.withResolvers<never>();
  readonly #begun = new AbortController();
  #status = 'none';
  #runState: Promise<RunState | undefined> = Promise.resolve(undefined);

  /** Subscribes before anything can arrive. `lastWords` explains the end of a QEMU (up to 9.0 it exits when it cannot load the guest). `onLoaded` is called with the event. */
  constructor(monitor: Monitor, lastWords: () => Promise<string>, onLoaded: () => void = () => undefined) {
    this.#monitor = monitor;
    this.#cont = monitor.prepare('cont', {});
    this.#loaded.promise.catch(() => undefined);
    this.#failed.promise.catch(() => undefined);
    this.#listening = monitor.on('MIGRATION', (event) => {
      this.#status = event.data.status;
      if (this.#status !== 'setup') this.#begun.abort();
      if (this.#status === 'completed') {
        onLoaded();
        // Asked now, so that it is known when Finish comes.
        this.#runState = monitor.execute('query-status', {}, monitor.closed).then(
          ({ status }) => status,
          () => undefined,
        );
        this.#loaded.resolve(event.atUs);
      } else if (this.#status === 'failed') this.#fail(lastWords, 'could not load the guest');
    });
    monitor.closed.addEventListener('abort', () => this.#fail(lastWords, 'ended'), { once: true });
  }

  #fail(lastWords: () => Promise<string>, how: string): void {
    const reject = (words: string): void => {
      const message = `the destination’s QEMU ${how}${words === '' ? '' : `: ${words}`}`;
      const error = new MigrationError('incoming-failed', message);
      this.#loaded.reject(error);
      this.#failed.reject(error);
    };
    lastWords().then(reject, () => reject(''));
  }

  /** QEMU has begun to receive a stream, and has not failed. */
  get receiving(): boolean {
    return this.#status === 'active' || this.#status === 'completed';
  }

  /** Aborts when a stream has come, and its handshake is over. */
  get begun(): AbortSignal {
    return this.#begun.signal;
  }

  /** QEMU may have been told to let the guest run. */
  get told(): boolean {
    return this.#cont === undefined;
  }

  /** QEMU's own word for its state. */
  get status(): string {
    return this.#status;
  }

  /**
   * When the guest was loaded whole, µs since 1970 by QEMU's clock. The event comes after QEMU has left `inmigrate`
   * (process_incoming_migration_bh), so `cont` starts the guest then, and not by itself later. Throws incoming-failed, or the signal's
   * reason: a guest that nobody sends is not waited for.
   */
  async loaded(signal: AbortSignal): Promise<number> {
    signal.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const leave = (): void => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([this.#loaded.promise, aborted]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  /**
   * The state that the guest was loaded in: `paused` if it ran, or its user had paused it; else what it was stopped in at the source (shutdown,
   * guest-panicked, io-error, …), and then `cont` is not for us. Undefined as long as it is not loaded, or if QEMU does not say.
   */
  get runState(): Promise<RunState | undefined> {
    return this.#runState;
  }

  /** Rejects with incoming-failed when QEMU cannot load the guest or ends, also once it has loaded it. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /**
   * Lets the guest run; gives when its CPUs started, µs since 1970. Throws QmpError, for instance when a disk is locked by another QEMU:
   * then it may be tried again.
   */
  async start(signal: AbortSignal): Promise<number> {
    let resumedAtUs = 0;
    // RESUME is sent before the reply to `cont`.
    using _resume = this.#monitor.on('RESUME', (event) => {
      resumedAtUs = event.atUs;
    });
    const prepared = this.#cont;
    this.#cont = undefined;
    await (prepared?.send(signal) ?? this.#monitor.execute('cont', {}, signal));
    return resumedAtUs;
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
    this.#cont?.[Symbol.dispose]();
  }
}
