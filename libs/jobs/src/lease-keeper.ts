import { channel } from 'node:diagnostics_channel';
import type { Clock } from './clock.ts';
import { JobError } from './errors.ts';
import { unsampled } from './unsampled.ts';

/** The diagnostics channel on which leases are told: `renewed`, `unanswered` (it is tried again), `lost`. */
export const leaseChanges = 'ferry.lease';
const changes = channel(leaseChanges);

/** What is kept alive, and how. */
export interface Lease {
  readonly clock: Clock;
  readonly leaseMs: number;
  /** `clock.monotonic()` just before the command that took the lease was sent. */
  readonly sentAt: number;
  /** What it is, for the error: "job MIGRATION_OUT of domain … on a". */
  readonly what: string;
  /** One renewal: true, or false if Redis says that the lease is no longer ours. Throws when Redis cannot be asked. */
  renew(signal: AbortSignal): Promise<boolean>;
}

/**
 * Renews a lease, and never lies about it: its signal aborts before the lease can have expired, also when a renewal merely
 * hangs. Redis starts counting when it runs a renewal, which is never before we sent it, so we count from the sending.
 */
export class LeaseKeeper implements Disposable {
  readonly #lease: Lease;
  readonly #ended = new AbortController();
  #certainUntil = 0;
  #expiry: Disposable | undefined;
  #next: Disposable | undefined;
  #done = false;

  constructor(lease: Lease) {
    this.#lease = lease;
    this.extended(lease.sentAt);
    this.#schedule(lease.leaseMs / 3);
  }

  /** Aborts, with JobError lease-lost, when the lease is no longer certainly ours. */
  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Another script that was sent at `sentAt` (monotonic) has renewed the lease as well. */
  extended(sentAt: number): void {
    if (this.#done) return;
    const { clock, leaseMs } = this.#lease;
    // A tenth in hand: for what the holder must still do once it is told, and for clocks that run at different speeds.
    const certainUntil = sentAt + leaseMs - leaseMs / 10;
    if (certainUntil <= this.#certainUntil) return; // the reply to an older renewal came last
    this.#certainUntil = certainUntil;
    this.#expiry?.[Symbol.dispose]();
    this.#expiry = clock.after(certainUntil - clock.monotonic(), () => this.lost('it could not be renewed in time'));
  }

  /** Throws lease-lost unless the lease is certainly ours at this moment, even where a stalled process missed its timer. */
  check(): void {
    if (this.#lease.clock.monotonic() >= this.#certainUntil) this.lost('it could not be renewed in time');
    this.#ended.signal.throwIfAborted();
  }

  /** The lease is gone: no renewal any more, and all who depend on it stop. */
  lost(why: string): void {
    if (this.#done) return;
    this[Symbol.dispose]();
    changes.publish('lost');
    this.#ended.abort(new JobError('lease-lost', `the lease of ${this.#lease.what} is lost: ${why}`));
  }

  /** Stops renewing, without a word to the holder: its job has ended. */
  [Symbol.dispose](): void {
    this.#done = true;
    this.#expiry?.[Symbol.dispose]();
    this.#next?.[Symbol.dispose]();
  }

  #schedule(ms: number): void {
    if (!this.#done) this.#next = this.#lease.clock.after(ms, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const { clock, leaseMs } = this.#lease;
    const sentAt = clock.monotonic();
    try {
      if (await unsampled(() => this.#lease.renew(this.#ended.signal))) {
        this.extended(sentAt);
        changes.publish('renewed');
        this.#schedule(leaseMs / 3);
      } else {
        this.lost('another holder has it, or Redis has forgotten it');
      }
    } catch {
      changes.publish('unanswered');
      // Redis may come back before the lease can have expired; if it does not, the expiry timer ends this.
      this.#schedule(leaseMs / 10);
    }
  }
}
