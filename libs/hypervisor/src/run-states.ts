/** What a guest's CPUs do, as its QEMU has last said it: kept as long as no event tells of a change, so that who lists many guests asks few QEMUs. */
import type { Monitor, RunState } from '@ferry/qemu-qmp';

/** QEMU sends one of these whenever a guest's state changes that is not being migrated; STOP comes after an event that says why. */
const changes = [
  'STOP',
  'RESUME',
  'RESET',
  'SHUTDOWN',
  'SUSPEND',
  'SUSPEND_DISK',
  'WAKEUP',
  'GUEST_PANICKED',
  'BLOCK_IO_ERROR',
  'MIGRATION',
] as const;

/** States that last. In the others something is about to happen, or another agent's command is on its way. */
const lasting: ReadonlySet<RunState> = new Set(['running', 'paused']);

interface Kept {
  state: RunState | undefined;
  askedAtMs: number;
  /** How many changes QEMU has told of. */
  changes: number;
}

export class RunStates {
  readonly #kept = new WeakMap<Monitor, Kept>();
  readonly #now: () => number;

  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** The state: what QEMU said less than `keptMs` ago, if nothing has changed since; else it is asked. Throws like Monitor.execute. */
  async of(monitor: Monitor, keptMs: number, signal: AbortSignal): Promise<RunState> {
    const kept = this.#kept.get(monitor) ?? this.#watch(monitor);
    const askedAtMs = this.#now();
    const isFresh = askedAtMs - kept.askedAtMs < keptMs && !monitor.closed.aborted;
    if (kept.state !== undefined && isFresh) return kept.state;
    const before = kept.changes;
    const { status } = await monitor.execute('query-status', {}, signal);
    // What has changed while QEMU was asked may not be in its answer.
    if (kept.changes === before) Object.assign(kept, { state: lasting.has(status) ? status : undefined, askedAtMs });
    return status;
  }

  #watch(monitor: Monitor): Kept {
    const kept: Kept = { state: undefined, askedAtMs: 0, changes: 0 };
    this.#kept.set(monitor, kept);
    // As long as the monitor is open.
    for (const name of changes)
      monitor.on(name, () => {
        kept.state = undefined;
        kept.changes += 1;
      });
    return kept;
  }
}
