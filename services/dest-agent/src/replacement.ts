/** Starts a waiting QEMU again whose main loop a silent connection holds (QEMU 7.2), now behind a relay that none can hold. */
import { MigrationError } from '@ferry/migration';

/** A QEMU that nobody sends to answers at once, ms. */
export const blockedMs = 1_000;

export class Replacement {
  readonly #replace: (signal: AbortSignal) => Promise<void>;
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;
  #isUnderWay = false;

  constructor(replace: (signal: AbortSignal) => Promise<void>) {
    this.#replace = replace;
  }

  /** Begins it; once for each migration. Throws nothing. */
  start(failed: (error: Error) => void): void {
    if (this.#running !== undefined || this.#stopped.signal.aborted) return;
    const running = this.#replace(this.#stopped.signal);
    this.#isUnderWay = true;
    this.#running = running
      .catch((error: unknown) => {
        if (!this.#stopped.signal.aborted) failed(error instanceof Error ? error : new Error(String(error)));
      })
      .finally(() => {
        this.#isUnderWay = false;
      });
  }

  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** What its migration decides comes after it: none begins from here on, and one that runs has ended. */
  async stop(): Promise<void> {
    this.#stopped.abort(new MigrationError('incoming-failed', 'the migration ends'));
    await this.#running;
  }
}
