/**
 * How a migration ends: by its last phase, or, whatever went wrong, by the one path of failure: recover by the phase table's row, end the job
 * with the first cause, try again until both are done.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, JobError, type MigrationJobs } from '@ferry/jobs';
import { MigrationError, openingPhase, type Phase, type Side } from '@ferry/migration';
import { Failure } from '@ferry/proto/ferry/v1/migration';
import { failureOf } from '@ferry/rpc';
import { type Held, labelsOf } from './held.ts';
import { recordOfEnd } from './known-migrations.ts';
import type { Log } from './log.ts';
import { measure } from './metrics.ts';
import type { OutcomeWord } from './ongoing.ts';
import { refusalOf, type Reply } from './replies.ts';
import { saidIfLong } from './said-if-long.ts';

/** How long one attempt may take. What cannot be settled now is tried again. */
const settleMs = 20_000;
/** Why it cannot be settled yet is logged again after so long if it stays the same, ms. */
const complainEveryMs = 10_000;

export interface SettlingOptions<State> {
  readonly side: Side;
  readonly jobs: MigrationJobs;
  readonly log: Log;
  readonly clock: Clock;
  /** Does what the phase's recovery row says and gives how the migration ended; throws if that cannot be known yet. */
  readonly recover: (held: Held<State>, signal: AbortSignal) => Promise<OutcomeWord>;
  /** What would settle a migration whose guest only others can decide about; undefined if it is not so. */
  readonly settledBy: (held: Held<State>) => string | undefined;
  /** Writes down that nothing is left to do. */
  readonly ended: (held: Held<State>) => Promise<void>;
}

/** Who holds the migrations. */
interface Holder<State> {
  /** Aborts when the agent ends: what is left is for its next life. */
  readonly stopping: AbortSignal;
  /** Nothing is left to do. */
  readonly over: (held: Held<State>) => void;
  /** A job may be in Redis that nobody holds. */
  readonly jobLeft: () => void;
}

export class Settling<State> {
  readonly #options: SettlingOptions<State>;
  readonly #holder: Holder<State>;

  constructor(options: SettlingOptions<State>, holder: Holder<State>) {
    this.#options = options;
    this.#holder = holder;
  }

  /** Gives a migration up, for a reason that came from outside its phases. */
  async giveUp(held: Held<State>, cause: Error): Promise<void> {
    // Our own end looks like QEMU's end from here.
    if (this.#holder.stopping.aborted) return;
    // Who asks may have waited since it found the migration: what is here of its domain by now is another one's, or the guest itself.
    if (held.ongoing.ended) return;
    held.ongoing.askToAbort(cause);
    // A phase that is being executed hears the signal and settles by itself.
    if (!held.executing && held.unsettled === undefined) {
      held.executing = true;
      await held.bookkeeping.catch(() => undefined);
      await this.settle(held, held.phase, cause);
    }
  }

  /** The one path of failure: recover by the phase's row, then end the job with the first cause. */
  async settle(held: Held<State>, phase: Phase | undefined, cause: unknown): Promise<void> {
    const { side, log } = this.#options;
    held.firstFailure ??= failureOf(cause, { side, phase });
    const labels = { 'ferry.side': side, 'ferry.phase': phase ?? 'none' };
    if (held.unsettled === undefined) measure('recoveries', 1, labels);
    held.unsettled ??= { outcome: undefined, phase, reply: undefined };
    log.warn({ err: cause, ...labelsOf(held), phase }, 'phase failed');
    await this.goOn(held);
  }

  async goOn(held: Held<State>): Promise<void> {
    const { recover } = this.#options;
    const unsettled = held.unsettled;
    const stopping = this.#holder.stopping;
    if (unsettled === undefined || stopping.aborted) return;
    held.executing = true;
    try {
      const patience = AbortSignal.any([AbortSignal.timeout(settleMs), stopping]);
      const what = `the recovery of phase ${held.phase}: ${held.firstFailure?.message ?? ''}`;
      unsettled.outcome ??= await saidIfLong(this.#options.log, what, labelsOf(held), recover(held, patience));
      // A job in no phase was taken by the call that opens it: repeated, that call is answered so.
      const { side, protocol } = held.ongoing.start;
      const phase = unsettled.phase ?? openingPhase(side, protocol);
      const refused = refusalOf(phase, held.firstFailure ?? Failure.fromPartial({}), held.request);
      await this.finish(held, unsettled.outcome, unsettled.reply ?? refused);
    } catch (error) {
      const cause = failureOf(error, { side: this.#options.side, phase: held.phase });
      this.#complain(held, error);
      const settledBy = this.#options.settledBy(held);
      held.ongoing.doubt(settledBy === undefined ? undefined : { cause, settledBy });
    } finally {
      held.executing = false;
    }
  }

  #complain(held: Held<State>, error: unknown): void {
    const { log, clock } = this.#options;
    const message = String(error);
    const nowMs = clock.monotonic();
    const last = held.complained;
    if (last?.message === message && nowMs - last.atMs < complainEveryMs) return;
    held.complained = { message, atMs: nowMs };
    log.error({ err: error, ...labelsOf(held), phase: held.phase }, 'the migration cannot be settled yet');
  }

  /**
   * Settles a migration that is in doubt by somebody's word: `decide` makes the decision, alone, and what follows from it is done. Throws
   * MigrationError not-in-doubt, or what `decide` throws; the signal's reason if the agent cannot be kept from trying by itself.
   */
  async resolve(held: Held<State>, decide: () => Promise<void>, signal: AbortSignal): Promise<void> {
    while (held.executing) await delay(10, undefined, { signal });
    if (held.unsettled === undefined || this.#options.settledBy(held) === undefined) {
      const { migrationId, domainName } = held.ongoing.start;
      const message = `migration ${migrationId} of domain ${domainName} is not in doubt: the agents go on with it, or have settled it`;
      throw new MigrationError('not-in-doubt', message);
    }
    held.executing = true;
    try {
      await decide();
    } finally {
      held.executing = false;
    }
    await this.goOn(held);
  }

  /** Ends the job. The outcome is known from here on, so it is told at once; a record that cannot be written now is written later. */
  async finish(held: Held<State>, outcome: OutcomeWord, reply: Reply): Promise<void> {
    const { jobs, log } = this.#options;
    held.ongoing.end(outcome, outcome === 'completed' ? undefined : held.firstFailure);
    const record = recordOfEnd(held.ongoing);
    const end = { outcome, record, reply: { phase: reply.phase, bytes: reply.bytes() } };
    const signal = AbortSignal.timeout(settleMs);
    try {
      const records = held.bookkeeping.catch(() => undefined).then(() => held.regaining?.catch(() => undefined));
      await saidIfLong(log, `the records of phases before ${held.phase} in Redis`, labelsOf(held), records);
      if (!held.jobEnded) {
        await jobs.migrationJobFinish(held.job, end, signal).catch(async (error: unknown) => {
          if (!(error instanceof JobError) || error.kind !== 'lease-lost') throw error;
          // Also where Redis has forgotten the job: how it ended is kept for whoever asks.
          await jobs.migrationJobRegain(held.job, signal);
          await jobs.migrationJobFinish(held.job, end, signal);
        });
      }
      held.jobEnded = true;
      await this.#options.ended(held);
      this.#holder.over(held);
    } catch (error) {
      held.unsettled = { outcome, phase: reply.phase, reply };
      this.#holder.jobLeft();
      log.warn({ err: error, ...labelsOf(held), outcome }, 'the job cannot be ended yet');
    }
  }
}
