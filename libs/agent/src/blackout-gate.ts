/**
 * While a guest of this agent stands still for its switchover, the event loop is its alone: calls that the switchover does not need, new connections,
 * events for watchers and periodic looks wait until the gate opens. It is closed for a bounded time, whatever becomes of the migration.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

/** A guest stands still longer only where something is wrong, and then others are not to wait for it, ms. */
const closedMsMax = 1_000;
/** How many of those who waited go on in one turn of the event loop: another guest may be stopped meanwhile. */
const perTurn = 32;

/** What waits: only while no call is expected over a new connection do connections wait, too. */
export type Closing = 'calls' | 'connections';

interface Closed {
  what: Closing;
  readonly timer: NodeJS.Timeout;
}

export interface BlackoutGateOptions {
  readonly closedMs?: number;
  /** Told when it is open again, and something had to wait. */
  readonly onHeld?: (held: number) => void;
}

export class BlackoutGate {
  readonly #closedMs: number;
  readonly #onHeld: (held: number) => void;
  readonly #closed = new Map<string, Closed>();
  readonly #waiting = new Set<() => void>();
  #held = 0;
  #draining = false;

  constructor({ closedMs = closedMsMax, onHeld = () => undefined }: BlackoutGateOptions = {}) {
    this.#closedMs = closedMs;
    this.#onHeld = onHeld;
  }

  /** The migration's guest stands still. Closed again for the same one, it still opens at its time. */
  close(migrationId: string, what: Closing = 'calls'): void {
    const known = this.#closed.get(migrationId);
    if (known !== undefined) {
      if (what === 'connections') known.what = what;
      return;
    }
    const timer = setTimeout(() => this.open(migrationId), this.#closedMs);
    timer.unref();
    this.#closed.set(migrationId, { what, timer });
  }

  /** The migration's guest runs, or its switchover has come to an end otherwise. */
  open(migrationId: string): void {
    const known = this.#closed.get(migrationId);
    if (known === undefined) return;
    clearTimeout(known.timer);
    this.#closed.delete(migrationId);
    this.#drainSoon();
  }

  isClosedFor(what: Closing): boolean {
    if (what === 'calls') return this.#closed.size > 0;
    return this.#closed.values().some((closed) => closed.what === 'connections');
  }

  /** Runs it now, or when the gate opens; what is given takes it back as long as it has not run. */
  whenOpen(run: () => void, what: Closing = 'calls'): () => void {
    if (!this.isClosedFor(what)) {
      run();
      return () => undefined;
    }
    const bound = AsyncLocalStorage.bind(run);
    this.#waiting.add(bound);
    this.#held += 1;
    return () => void this.#waiting.delete(bound);
  }

  /** Settles when the gate is open. */
  opened(): Promise<void> {
    return new Promise((resolve) => {
      this.whenOpen(resolve);
    });
  }

  /** In a later turn: the guest's own next step comes first. */
  #drainSoon(): void {
    if (this.#draining || this.#held === 0 || this.#closed.size > 0) return;
    this.#draining = true;
    setTimeout(() => {
      this.#draining = false;
      let turns = perTurn;
      for (const run of this.#waiting) {
        if (this.#closed.size > 0 || turns === 0) break;
        turns -= 1;
        this.#waiting.delete(run);
        run();
      }
      if (this.#waiting.size === 0 && this.#closed.size === 0) {
        const held = this.#held;
        this.#held = 0;
        this.#onHeld(held);
      } else this.#drainSoon();
    }, 0);
  }
}
