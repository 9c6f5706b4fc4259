/** Follows a guest's CPUs while it is being sent: whether they run until the switchover stops them, or stopped before. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Monitor, RunState } from '@ferry/qemu-qmp';

/** QEMU says `pre-switchover` 1 ms after the STOP of a switchover. Before QEMU is asked what a STOP was it is given longer than that, ms. */
const switchoverMs = 5;

/** Ends of a QEMU that neither the guest nor its user has asked for. */
const accidents: ReadonlySet<string> = new Set(['none', 'host-error', 'host-signal', 'guest-panic', 'snapshot-load']);

export interface CpuReport {
  /** The CPUs run, or do not, for another reason than the switchover. */
  ran(now: boolean): void;
  /** They stand still, for all that is known for the switchover; or do not, or not for that. */
  standsStill(now: boolean): void;
}

export class CpuWatch implements Disposable {
  readonly #monitor: Monitor;
  readonly #report: CpuReport;
  readonly #signal: AbortSignal;
  readonly #listening: Disposable[];
  #stoppedAtUs: number | undefined;
  /** The state in which the guest or an error stops it: the next STOP is not the switchover's. */
  #ownStop: RunState | undefined;
  #runState: RunState = 'running';
  #shutDown = false;

  constructor(monitor: Monitor, report: CpuReport, signal: AbortSignal) {
    this.#monitor = monitor;
    this.#report = report;
    this.#signal = signal;
    this.#listening = [
      monitor.on('STOP', ({ atUs }) => this.#stopped(atUs)),
      monitor.on('RESUME', () => this.#resumed()),
      monitor.on('SHUTDOWN', ({ data }) => {
        this.#shutDown ||= !accidents.has(data.reason);
        this.#ownStop ??= 'shutdown';
      }),
      monitor.on('GUEST_PANICKED', ({ data }) => this.#willStop(data.action === 'pause', 'guest-panicked')),
      monitor.on('BLOCK_IO_ERROR', ({ data }) => this.#willStop(data.action === 'stop', 'io-error')),
    ];
  }

  /** At `pre-switchover`: when the switchover stopped the CPUs, by QEMU's clock; undefined if they did not run. */
  get stoppedAtUs(): number | undefined {
    return this.#stoppedAtUs;
  }

  /** The state that a guest whose CPUs did not run was stopped in. */
  get runState(): RunState {
    return this.#runState;
  }

  /** The guest has shut down, or its user has QEMU end. */
  get shutDown(): boolean {
    return this.#shutDown;
  }

  /** Before memory flows. QEMU wakes a guest that is suspended before it stops it (migration_completion). */
  async read(): Promise<void> {
    const { status } = await this.#monitor.execute('query-status', {}, this.#signal);
    this.#runState = status;
    this.#report.ran(status === 'running' || status === 'suspended');
  }

  #willStop(stops: boolean, as: RunState): void {
    if (stops) this.#ownStop ??= as;
  }

  #resumed(): void {
    this.#stoppedAtUs = undefined;
    this.#report.standsStill(false);
    this.#ownStop = undefined;
    this.#runState = 'running';
    this.#report.ran(true);
  }

  #stopped(atUs: number): void {
    if (this.#ownStop !== undefined) {
      this.#runState = this.#ownStop;
      return this.#report.ran(false);
    }
    this.#stoppedAtUs = atUs;
    this.#report.standsStill(true);
    this.#ask(atUs).catch(() => undefined);
  }

  /** Not at once: this would delay a switchover. */
  async #ask(atUs: number): Promise<void> {
    await delay(switchoverMs, undefined, { signal: this.#signal, ref: false });
    if (this.#stoppedAtUs !== atUs) return;
    const { status } = await this.#monitor.execute('query-status', {}, this.#signal);
    if (this.#stoppedAtUs !== atUs || status === 'finish-migrate' || status === 'postmigrate') return;
    this.#stoppedAtUs = undefined;
    this.#report.standsStill(false);
    this.#runState = status;
    this.#report.ran(status === 'running');
  }

  [Symbol.dispose](): void {
    for (const each of this.#listening) each[Symbol.dispose]();
  }
}
