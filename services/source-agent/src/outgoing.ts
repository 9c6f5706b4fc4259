/** Drives one QEMU's outgoing migration: configure, send, cancel. Knows QEMU, not the protocol. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { nowUs, SendingSpans } from '@ferry/agent';
import { unsampled } from '@ferry/jobs';
import { CpuWatch } from './cpu-watch.ts';
import { watchStall } from './stall-watch.ts';
import { capabilitiesToSet, MigrationError, type Limits } from '@ferry/migration';
import { MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import type { Commands, Monitor, RunState, TimedEvent } from '@ferry/qemu-qmp';

/** How often a running migration's figures are asked for. Completion does not wait for this: it comes as an event. */
const progressMs = 250;

type MigrateInfo = Commands['query-migrate']['returns'];

/** QEMU's figures in our units. */
export function statisticsOf(info: MigrateInfo): Partial<MigrationStatistics> {
  const { ram } = info;
  const whole = (n: number | bigint | undefined): bigint => BigInt(typeof n === 'bigint' ? n : Math.round(n ?? 0));
  return {
    qemuTotalMs: whole(info['total-time']),
    qemuSetupMs: whole(info['setup-time']),
    qemuDowntimeMs: whole(info.downtime),
    ...(ram === undefined
      ? {}
      : {
          memoryTotalBytes: whole(ram.total),
          memoryTransferredBytes: whole(ram.transferred),
          memoryRemainingBytes: whole(ram.remaining),
          memoryPasses: whole(ram['dirty-sync-count']),
          dirtyBytesPerSecond: whole(ram['dirty-pages-rate'] * ram['page-size']),
          // QEMU counts 10⁶ bit/s.
          bytesPerSecond: whole(ram.mbps * 125_000),
        }),
  };
}

/**
 * Sets our capabilities, the caller's limits and the credentials' id ("" for none). Whatever an earlier try left is overwritten. Throws MigrationError
 * capability-missing, migration-blocked (with QEMU's reasons).
 */
export async function configureOutgoing(
  monitor: Monitor,
  limits: Limits,
  tlsCreds: string,
  signal: AbortSignal,
): Promise<void> {
  const [info, offered] = await Promise.all([
    monitor.execute('query-migrate', {}, signal),
    monitor.execute('query-migrate-capabilities', {}, signal),
  ]);
  const reasons = info['blocked-reasons'] ?? [];
  if (reasons.length > 0) {
    throw new MigrationError('migration-blocked', `QEMU cannot migrate this guest: ${reasons.join('; ')}`);
  }
  const capabilities = capabilitiesToSet('source', offered);
  const { bandwidthBytesPerSecond, downtimeLimitMs } = limits;
  const parameters = {
    'max-bandwidth': bandwidthBytesPerSecond,
    'downtime-limit': downtimeLimitMs,
    'tls-creds': tlsCreds,
  };
  await Promise.all([
    capabilities.length === 0 || monitor.execute('migrate-set-capabilities', { capabilities }, signal),
    monitor.execute('migrate-set-parameters', parameters, signal),
  ]);
}

/** When what happened, by QEMU's own clock, µs since 1970. */
export interface SwitchoverTimes {
  /** The guest's CPUs stopped; undefined if they did not run. */
  stoppedAtUs: number | undefined;
  /** QEMU went on past pre-switchover. */
  continuedAtUs: number | undefined;
}

export interface SendReport {
  progress(status: string, statistics: Partial<MigrationStatistics>): void;
  /** Runs while memory flows, until its signal aborts; what it throws ends the sending. */
  watch(memoryFlows: AbortSignal): Promise<void>;
  /** QEMU connects, until the signal aborts: a connection whose TLS handshake is not answered in time is to be ended. */
  connecting(signal: AbortSignal): void;
  /** QEMU sends: its stream has been accepted. Runs until its signal aborts. */
  sending(signal: AbortSignal): void;
  /** Why the guest, which has been stopped, must not be sent; a promise if that is not known yet. */
  notReady(): Error | undefined | Promise<Error | undefined>;
  /** The destination may start the guest, as far as its user is concerned. */
  mayRun(): boolean;
  /** The guest's CPUs run, or do not: at the beginning, and when that changes by anything but the switchover. */
  ran(now: boolean): void;
  /** The guest stands still for the switchover, as far as is known; or does not. */
  standsStill(now: boolean): void;
  /**
   * The guest is stopped for the switchover; `atUs` is undefined if it did not run, and `runState` says how it was stopped then. QEMU goes on when
   * this returns, or its promise does.
   */
  stopped(atUs: number | undefined, runState: RunState): void | Promise<void>;
  /** Runs once no guest of this agent stands still. */
  whenQuiet(run: () => void): void;
  /** QEMU sends the rest: the next word is `completed`. */
  almostThere(times: SwitchoverTimes): void;
}

/**
 * Sends the guest to `uri` and returns when QEMU says `completed`: with return-path that means the destination has loaded everything.
 * The guest is stopped then. Inside the blackout there is one thing to do, and it is done as the event is read: `migrate-continue`.
 * Throws MigrationError migration-failed with QEMU's reason, handshake-failed, guest-gone, guest-ended; or, and then QEMU still migrates, the signal's reason, what `watch`
 * throws, what `notReady` gives when the guest has been stopped, or switchover-stalled when its stream does not move for `stallMs` then.
 */
export async function sendGuest(
  monitor: Monitor,
  { uri, stallMs }: { readonly uri: string; readonly stallMs: number },
  report: SendReport,
  signal: AbortSignal,
): Promise<void> {
  const times: SwitchoverTimes = { stoppedAtUs: undefined, continuedAtUs: undefined };
  const ended = Promise.withResolvers<'completed' | 'failed' | 'cancelled'>();
  // QEMU may end while it is still being told to migrate.
  ended.promise.catch(() => undefined);
  const flowing = new AbortController();
  const over = new AbortController();
  const connecting = new AbortController();
  const fail = (reason: unknown): void => ended.reject(reason);
  let status = 'none';
  const spans = new SendingSpans();

  // QEMU has all of the command but its end by then.
  using goOn = monitor.prepare('migrate-continue', { state: 'pre-switchover' });
  using cpus = new CpuWatch(monitor, report, signal);
  // An event is heard in the context in which the monitor was opened, by another call long ago; what follows it is of this migration's trace.
  const heard = AsyncLocalStorage.bind((event: TimedEvent<'MIGRATION'>): void => {
    status = event.data.status;
    spans.word(status, event.atUs);
    if (status !== 'setup') connecting.abort();
    if (status === 'active') report.sending(AbortSignal.any([signal, over.signal]));
    else if (status === 'pre-switchover') {
      flowing.abort();
      const mayRun = report.mayRun();
      const stoppedAtUs = mayRun ? cpus.stoppedAtUs : undefined;
      times.stoppedAtUs = stoppedAtUs;
      spans.stopped(stoppedAtUs);
      const goOnUnless = (why: Error | undefined): void => {
        if (why !== undefined) return ended.reject(why);
        if (over.signal.aborted || status !== 'pre-switchover') return;
        if (stoppedAtUs === undefined) {
          report.ran(false);
          Promise.resolve(report.stopped(undefined, mayRun ? cpus.runState : 'paused'))
            .then(() => goOn.send(signal))
            .catch(ended.reject);
          return;
        }
        goOn.send(signal).catch(ended.reject);
        report.ran(true);
        void report.stopped(stoppedAtUs, 'running');
      };
      const why = report.notReady();
      if (why instanceof Promise) why.then(goOnUnless, ended.reject);
      else goOnUnless(why);
      // Not before QEMU has been told to go on.
      unsampled(() => watchStall(monitor, stallMs, AbortSignal.any([signal, over.signal, monitor.closed]))).catch(fail);
    } else if (status === 'device') {
      times.continuedAtUs = event.atUs;
      report.almostThere(times);
    } else if (status === 'completed' || status === 'failed' || status === 'cancelled') ended.resolve(status);
  });
  using _migration = monitor.on('MIGRATION', heard);
  using _passes = monitor.on('MIGRATION_PASS', ({ data, atUs }) => spans.pass(data.pass, atUs));
  const stopWaiting = (): void => fail(signal.reason);
  const guestGone = (): void => {
    const cause = monitor.closed.reason;
    fail(
      cpus.shutDown
        ? new MigrationError('guest-ended', 'the guest shut down during the migration, and its QEMU ended', { cause })
        : new MigrationError('guest-gone', 'the guest’s QEMU ended during the migration', { cause }),
    );
  };
  signal.addEventListener('abort', stopWaiting, { once: true });
  monitor.closed.addEventListener('abort', guestGone, { once: true });
  try {
    signal.throwIfAborted();
    if (monitor.closed.aborted) guestGone();
    await cpus.read();
    // QEMU may wait for the handshake before it has answered the command.
    report.connecting(AbortSignal.any([signal, connecting.signal]));
    await monitor.execute('migrate', { uri }, signal);
    // Ends by itself when the guest has stopped: nothing is asked of QEMU inside the blackout.
    const memoryFlows = AbortSignal.any([signal, flowing.signal]);
    const progress = (word: string, statistics: Partial<MigrationStatistics>): void => {
      spans.figures(statistics);
      report.progress(word, statistics);
    };
    unsampled(() => reportProgress(monitor, () => status, progress, memoryFlows)).catch(fail);
    report.watch(memoryFlows).catch(fail);
    const end = await ended.promise;
    if (end === 'completed') return;
    const why = await monitor.execute('query-migrate', {}, signal);
    const words = why['error-desc'] ?? 'it names no reason; the destination’s QEMU may';
    throw new MigrationError(
      handshakeFailed.test(words) ? 'handshake-failed' : 'migration-failed',
      `QEMU gave up the migration to ${uri} (${end}): ${words}`,
    );
  } finally {
    flowing.abort();
    connecting.abort();
    over.abort();
    const endedAtUs = nowUs();
    report.whenQuiet(() => spans.emit(endedAtUs));
    signal.removeEventListener('abort', stopWaiting);
    monitor.closed.removeEventListener('abort', guestGone);
  }
}

/** QEMU's words when nothing was sent yet (migration/tls.c). */
const handshakeFailed = /TLS handshake failed/;

const isFlowing = (status: string): boolean => status === 'none' || status === 'setup' || status === 'active';

async function reportProgress(
  monitor: Monitor,
  status: () => string,
  progress: SendReport['progress'],
  signal: AbortSignal,
): Promise<void> {
  try {
    // Until the guest is stopped, or the migration is given up by somebody else's limit.
    while (isFlowing(status())) {
      await delay(progressMs, undefined, { signal });
      if (!isFlowing(status())) return;
      const info = await monitor.execute('query-migrate', {}, signal);
      progress(info.status ?? status(), statisticsOf(info));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

const underWay: ReadonlySet<string> = new Set([
  'setup',
  'active',
  'pre-switchover',
  'device',
  'cancelling',
  'wait-unplug',
]);

/**
 * Stops QEMU's outgoing migration, if there is one, and waits until QEMU is done with it. Gives 'completed' if it was too late: the
 * guest was sent and is stopped (`postmigrate`). Gives 'stopped' otherwise: QEMU itself lets the guest run on, if it ran before
 * (migration_iteration_finish). `migrate_cancel` succeeds in either case, so only the state afterwards counts.
 */
export async function stopOutgoing(monitor: Monitor, signal: AbortSignal): Promise<'completed' | 'stopped'> {
  let cancelled = false;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    const [{ status: migration }, { status: runState }] = [
      await monitor.execute('query-migrate', {}, signal),
      await monitor.execute('query-status', {}, signal),
    ];
    // The result of the guest's own arrival, or of an earlier try, stays in query-migrate; the run state does not lie.
    if (runState === 'postmigrate') return 'completed';
    if (migration !== undefined && underWay.has(migration)) {
      if (!cancelled) await monitor.execute('migrate_cancel', {}, signal);
      cancelled = true;
    } else if (runState !== 'finish-migrate') return 'stopped';
    await delay(pause, undefined, { signal });
  }
}
