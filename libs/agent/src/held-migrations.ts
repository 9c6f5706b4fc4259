/**
 * The migrations that an agent holds a job for, and the one way a phase is run: take the job by libvirt's rules, run the phase's body,
 * keep its answer; or, whatever went wrong, settle by the phase table's recovery row.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import { isPhase, MigrationError, type Phase } from '@ferry/migration';
import { JobError, type MigrationJob } from '@ferry/jobs';
import { failureOf } from '@ferry/rpc';
import { AbandonedJobs } from './abandoned-jobs.ts';
import type { BlackoutGate } from './blackout-gate.ts';
import { AgentError } from './errors.ts';
import { requesterNow } from './callers.ts';
import { type Held, labelsOf } from './held.ts';
import type { OngoingMigrations, OngoingStart, OutcomeWord } from './ongoing.ts';
import type { PhaseChoice, PhaseRun } from './phase-run.ts';
import { regainLease } from './regain-lease.ts';
import { saidIfLong } from './said-if-long.ts';
import { replay, replyOf, type Reply } from './replies.ts';
import { askedFrom, askedOption, noDigest } from './request-digest.ts';
import { traceparentNow } from './tracing.ts';
import { Settling, type SettlingOptions } from './settling.ts';

/** How long it is tried to record that a phase is done. */
const recordMs = 20_000;
const tickMs = 250;
/** How long settling what was found is waited for; it goes on after that. */
const takeOverMs = 2_000;
/** How long an agent that is asked to end may take for what is under way. */
const drainMs = 3_000;

export interface HeldMigrationsOptions<State> extends SettlingOptions<State> {
  readonly ongoing: OngoingMigrations;
  /** While it is closed nothing is looked for. */
  readonly gate: BlackoutGate;
  /** How long a migration may be between two phases and nobody calls; what is settled then is settled by its phase's recovery row. */
  readonly patienceMs: (held: Held<State>) => number;
  /** How long a migration goes on whose lease is lost. */
  readonly holdMs: number;
  /** Whether this host knows a migration of that id from before, also where Redis has forgotten it. */
  readonly isOld: (migrationId: string) => Promise<boolean>;
  /** Whether it is no wonder that nobody calls: memory is flowing. */
  readonly busy: (held: Held<State>) => boolean;
  /** Asserts the guest's ownership while the migration is open, in case Redis has lost the record. */
  readonly assertOwner: (held: Held<State>) => Promise<void>;
  /** Looks for what is left of migrations whose jobs Redis has forgotten. Throws when something cannot be settled yet. */
  readonly takeUpForgotten: (signal: AbortSignal) => Promise<void>;
  /** What this host knows of a migration found in the jobs' record. Throws when that cannot be known yet. */
  readonly revive: (job: MigrationJob, signal: AbortSignal) => Promise<Found<State>>;
}

/** A migration that this agent's life before left. */
export interface Found<State> {
  readonly start: OngoingStart;
  readonly state: State;
  /** How it ended, if this host knows that it did: then only its job is left to end. */
  readonly outcome?: OutcomeWord | undefined;
  /** The phase it was in, if this host knows better than the job's record. */
  readonly phase?: Phase | undefined;
}

/** How often ownership is asserted, besides whenever Redis is back; and how soon again where that failed. */
const assertEveryMs = 5_000;
const assertAgainMs = 500;

const tracer = trace.getTracer('@ferry/agent');

const beingSettled = (migrationId: string): MigrationError =>
  new MigrationError('in-doubt', `migration ${migrationId} is being settled by this agent: ask again in a moment`);

/** Undefined before the first. Throws MigrationError in-doubt for a word that is no phase: what it allows is not known. */
function recordedPhase({ phase, migrationId, domain }: MigrationJob): Phase | undefined {
  if (phase === 'none') return undefined;
  if (isPhase(phase)) return phase;
  throw new MigrationError(
    'in-doubt',
    `the record of migration ${migrationId} of domain ${domain} is in phase ${JSON.stringify(phase)}, which this agent does not know: start the version of the agent that wrote it`,
  );
}

/** By then the guest runs, or QEMU has been told: the event loop's next turns belong to that. */
const soon = (): Promise<void> => delay(2);

export class HeldMigrations<State> {
  readonly #options: HeldMigrationsOptions<State>;
  readonly #held = new Map<string, Held<State>>();
  /** Migrations whose first phase has been asked for. */
  readonly #opening = new Set<string>();
  readonly #stopping = new AbortController();
  #ticking: Promise<void> = Promise.resolve();
  #assertAtMs = -Infinity;
  #connections = -1;
  readonly #abandoned: AbandonedJobs;
  readonly #settling: Settling<State>;
  /** Those that are being looked after: one that hangs keeps no other waiting. */
  readonly #lookedAfter = new Map<Held<State>, Promise<void>>();

  constructor(options: HeldMigrationsOptions<State>) {
    this.#options = options;
    this.#abandoned = new AbandonedJobs({
      ...options,
      holds: (domain) => this.all().some((held) => held.ongoing.start.domainUuid === domain),
      takeOver: (job, signal) => this.#takeOver(job, signal),
    });
    this.#settling = new Settling(options, {
      stopping: this.#stopping.signal,
      over: (held) => this.#held.delete(held.ongoing.start.migrationId),
      jobLeft: () => this.#abandoned.later(),
    });
  }

  find(migrationId: string): Held<State> | undefined {
    return this.#held.get(migrationId);
  }

  /** Those whose jobs are held now. */
  all(): Held<State>[] {
    return [...this.#held.values()];
  }

  /** Runs a phase that opens the migration's job. Repeated, it gives the same answer. `make` looks at the guest before the job is taken. */
  async open<Response>(
    start: OngoingStart,
    make: (signal: AbortSignal) => Promise<{ options: Record<string, string>; state: State }>,
    run: PhaseRun<State, Response>,
    signal: AbortSignal,
  ): Promise<Response> {
    const { domainUuid: domain, migrationId } = start;
    const recorded = await this.#recorded(domain, migrationId, run.phase, signal);
    if (recorded !== undefined)
      return replay(recorded, run.codec, run.request ?? noDigest, `phase ${run.phase} of migration ${migrationId}`);
    // At once: of two calls that come together, one is refused.
    if (this.#held.has(migrationId) || this.#opening.has(migrationId)) {
      const message = `phase ${run.phase} of migration ${migrationId} is being executed: wait for its answer`;
      throw new JobError('phase-in-progress', message);
    }
    this.#opening.add(migrationId);
    try {
      return await this.#open(start, make, run, signal);
    } finally {
      this.#opening.delete(migrationId);
    }
  }

  async #open<Response>(
    start: OngoingStart,
    make: (signal: AbortSignal) => Promise<{ options: Record<string, string>; state: State }>,
    run: PhaseRun<State, Response>,
    signal: AbortSignal,
  ): Promise<Response> {
    const { domainUuid: domain, migrationId } = start;
    if (await this.#options.isOld(migrationId)) {
      const message = `migration ${migrationId} of domain ${domain} was here before and is over: start anew under a new id`;
      throw new JobError('phase-out-of-order', message);
    }
    const { options: made, state } = await make(signal);
    const { jobs, ongoing } = this.#options;
    const requester = requesterNow();
    const options = { ...made, ...askedOption(ongoing.find(migrationId)), requester, ...traceparentNow() };
    const job = await jobs.migrationJobStart({ domain, migrationId, options }, signal).catch((error: unknown) => {
      // Redis may have run it all the same: then a job is there that nobody holds.
      this.#abandoned.later();
      throw error;
    });
    return this.#run(this.#hold({ ...start, requester }, state, job, undefined), run, signal);
  }

  #hold(start: OngoingStart, state: State, job: MigrationJob, phase: Phase | undefined): Held<State> {
    const ongoing = this.#options.ongoing.open(start);
    // Of a migration that this agent's predecessor left, its job says what was asked for.
    if (ongoing.asked === noDigest) ongoing.asked = askedFrom(job.options);
    const held: Held<State> = {
      ongoing,
      state,
      job,
      phase,
      replies: new Map(),
      request: noDigest,
      bookkeeping: Promise.resolve(),
      unrecorded: undefined,
      executing: false,
      driven: false,
      jobEnded: false,
      leaseLostMs: undefined,
      regaining: undefined,
      touchedMs: this.#options.clock.monotonic(),
      firstFailure: undefined,
      complained: undefined,
      unsettled: undefined,
    };
    this.#held.set(start.migrationId, held);
    return held;
  }

  /** Runs a phase of a migration whose job is held. Repeated, it gives the same answer. */
  step<Response>(
    domain: string,
    migrationId: string,
    run: PhaseRun<State, Response>,
    signal: AbortSignal,
  ): Promise<Response> {
    return this.stepAfter(domain, migrationId, { ...run, phases: [run.phase], learn: () => run }, signal);
  }

  /**
   * Likewise, of the one of several phases that follows from what must be learned first. The migration is executing while `learn` runs: nothing
   * else decides, and a migration whose fate is not known runs none of the phases. What `learn` throws is thrown.
   */
  async stepAfter<Response>(
    domain: string,
    migrationId: string,
    { phases, request = noDigest, codec, learn }: PhaseChoice<State, Response>,
    signal: AbortSignal,
  ): Promise<Response> {
    for (const phase of phases) {
      const recorded = await this.#recorded(domain, migrationId, phase, signal);
      if (recorded !== undefined) return replay(recorded, codec, request, `phase ${phase} of migration ${migrationId}`);
    }
    const held = this.#held.get(migrationId);
    if (held === undefined) {
      this.#options.jobs.migrationJobIsActive(domain, migrationId);
      throw beingSettled(migrationId);
    }
    if (held.unsettled !== undefined) throw beingSettled(migrationId);
    if (held.executing) {
      throw new JobError(
        'phase-in-progress',
        `phase ${held.phase} of migration ${migrationId} is being executed: wait for its answer`,
      );
    }
    // At once: of two calls that come together, one is refused.
    held.executing = true;
    const run = await this.#ready(held, learn, signal).catch(async (error: unknown) => {
      held.executing = false;
      // Who asked for it to be given up meanwhile has left that to us.
      if (held.ongoing.abandonSignal.aborted) await this.#settling.settle(held, held.phase, error);
      throw error;
    });
    return this.#run(held, run, signal);
  }

  /** Everything that comes before a phase's own record. Its caller executes the migration. */
  async #ready<Response>(
    held: Held<State>,
    learn: PhaseChoice<State, Response>['learn'],
    signal: AbortSignal,
  ): Promise<PhaseRun<State, Response>> {
    const { domainUuid, migrationId } = held.ongoing.start;
    const learning = learn(held, signal);
    const run = learning instanceof Promise ? await learning : learning;
    // The phase before may still be writing its record; what it says must be there before ours.
    const records = held.bookkeeping.catch(() => undefined);
    await saidIfLong(this.#options.log, `the record of phase ${held.phase} in Redis`, labelsOf(held), records);
    if (held.job.signal.aborted) await this.#regain(held);
    held.job = this.#options.jobs.migrationJobIsActive(domainUuid, migrationId);
    return run;
  }

  /** What was answered before: from memory while the job is held, else from Redis. */
  async #recorded(
    domain: string,
    migrationId: string,
    phase: Phase,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    const held = this.#held.get(migrationId);
    if (held !== undefined) return held.replies.get(phase)?.();
    return this.#options.jobs.replyOf(domain, migrationId, phase, signal);
  }

  async #run<Response>(held: Held<State>, run: PhaseRun<State, Response>, callSignal: AbortSignal): Promise<Response> {
    const { side, clock } = this.#options;
    const { phase, codec, body, outcome } = run;
    // Who gives a migration up wants it ended: the phases that end it go on.
    const abandoned = outcome === undefined ? [held.ongoing.abandonSignal] : [];
    const lease = run.outlivesLease === true ? [] : [held.job.signal];
    const signal = AbortSignal.any([callSignal, ...lease, ...abandoned]);
    held.request = run.request ?? noDigest;
    await this.#startPhase(held, run, signal);
    try {
      const attributes = { 'ferry.side': side, 'ferry.phase': phase };
      const response = await tracer.startActiveSpan(`migration.${phase}`, { attributes }, async (span) => {
        using _span = { [Symbol.dispose]: () => span.end() };
        try {
          return await body(held, signal);
        } catch (error) {
          const { reason, message } = failureOf(error, { side, phase });
          span.setAttribute('ferry.reason', reason).setStatus({ code: SpanStatusCode.ERROR, message });
          throw error;
        }
      });
      const reply = replyOf(phase, codec, response, held.request);
      held.replies.set(phase, reply.bytes);
      held.ongoing.phaseDone(side, phase);
      if (outcome !== undefined) await this.#settling.finish(held, outcome(response), reply);
      else held.bookkeeping = this.#record(held, run.doneAs, reply);
      return response;
    } catch (error) {
      await this.#settling.settle(held, phase, error);
      throw error;
    } finally {
      held.executing = false;
      held.touchedMs = clock.monotonic();
    }
  }

  /** Takes the job for a phase. One that may not be changes nothing; the first one is then settled, since it has taken the job already. */
  async #startPhase(
    held: Held<State>,
    { phase, inBlackout }: { phase: Phase; inBlackout?: true },
    signal: AbortSignal,
  ): Promise<void> {
    const { jobs, side } = this.#options;
    const before = held.phase;
    held.executing = true;
    held.phase = phase;
    held.ongoing.phaseStarted(side, phase);
    if (inBlackout === true) {
      // The guest waits: the register decides, and the job's record can be written while QEMU is being told.
      held.bookkeeping = soon().then(() => jobs.migrationJobStartPhase(held.job, phase, signal));
      held.bookkeeping.catch(() => undefined);
      return;
    }
    try {
      await this.#recordEnd(held, signal);
      await jobs.migrationJobStartPhase(held.job, phase, signal);
    } catch (error) {
      held.executing = false;
      held.phase = before;
      // Who asked for it to be given up meanwhile has left that to us.
      if (before === undefined || held.ongoing.abandonSignal.aborted) await this.#settling.settle(held, phase, error);
      throw error;
    }
  }

  /** Writes down that a phase is done, in the background. If that fails the lease will tell: its signal ends the job. */
  async #record(held: Held<State>, doneAs: Phase | undefined, reply: Reply): Promise<void> {
    const { jobs, log } = this.#options;
    const signal = AbortSignal.timeout(recordMs);
    if (doneAs !== undefined) held.phase = doneAs;
    held.unrecorded = doneAs;
    const failed = (error: unknown): void => {
      log.warn({ err: error, ...labelsOf(held), phase: reply.phase }, 'the phase could not be recorded');
    };
    try {
      await Promise.all([held.bookkeeping, soon()]);
      await this.#recordEnd(held, signal);
    } catch (error) {
      failed(error);
    }
    // What was answered is kept under the lease that is being reacquired.
    await held.regaining;
    // In any case: the next phase must find the job owned by nobody.
    const kept = { phase: reply.phase, bytes: reply.bytes() };
    await jobs.migrationJobContinue(held.job, kept, signal).catch(failed);
  }

  async #recordEnd(held: Held<State>, signal: AbortSignal): Promise<void> {
    if (held.unrecorded === undefined) return;
    await this.#options.jobs.migrationJobSetPhase(held.job, held.unrecorded, signal);
    held.unrecorded = undefined;
  }

  /** Gives a migration up, for a reason that came from outside its phases. */
  giveUp(held: Held<State>, cause: Error): Promise<void> {
    return this.#settling.giveUp(held, cause);
  }

  /** Settles a migration that is in doubt by somebody's word: `Settling.resolve`. */
  resolve(held: Held<State>, decide: () => Promise<void>, signal: AbortSignal): Promise<void> {
    return this.#settling.resolve(held, decide, signal);
  }

  /**
   * Takes a lost lease back, or gives the migration up when that takes too long. Nobody else acts under this agent's name meanwhile. One at a
   * time; what has ended, or is being settled, takes its lease back when it ends its job.
   */
  async #regain(held: Held<State>): Promise<void> {
    if (held.unsettled !== undefined || held.ongoing.ended) return;
    const tried = (held.regaining ??= regainLease(held, this.#options).finally(() => {
      held.regaining = undefined;
    }));
    const failure = await tried;
    if (failure === undefined) return;
    // Redis may carry it out later, when there is nothing to take back any more.
    this.#abandoned.later();
    if (failure.isFinal) await this.giveUp(held, failure.error);
  }

  /** Takes over what this agent's predecessor left; what cannot be settled at once is settled while the agent serves. Throws JobError redis-unavailable. */
  sweep(signal: AbortSignal): Promise<void> {
    return this.#abandoned.sweep(signal);
  }

  async #takeOver(job: MigrationJob, signal: AbortSignal): Promise<void> {
    const message = `the agent was restarted in phase ${job.phase} of migration ${job.migrationId}`;
    try {
      const phase = recordedPhase(job);
      const found = await this.#options.revive(job, signal);
      await this.#settleFound(found, job, phase, new MigrationError('abandoned', message));
    } catch (error) {
      this.#options.jobs.migrationJobLetGo(job);
      throw error;
    }
  }

  /**
   * Likewise, of a migration that Redis has forgotten and this host has not: its job is taken anew, to be settled from `phase`. Its record keeps the
   * same options as before: yet another life of this agent may have nothing else.
   */
  async takeUp(
    found: Found<State> & { readonly options: Record<string, string> },
    phase: Phase,
    signal: AbortSignal,
  ): Promise<void> {
    const { domainUuid: domain, migrationId } = found.start;
    const { options } = found;
    if (this.#held.has(migrationId)) return;
    const job = await this.#options.jobs.migrationJobStart({ domain, migrationId, options }, signal);
    const cause = new MigrationError('abandoned', `the agent was restarted during migration ${migrationId}`);
    await this.#settleFound(found, job, phase, cause);
  }

  async #settleFound(found: Found<State>, job: MigrationJob, phase: Phase | undefined, cause: Error): Promise<void> {
    const { start, state, outcome } = found;
    const held = this.#hold(start, state, job, found.phase ?? phase);
    // Redis may have lost the record: before anything else is asked.
    await this.#assertOwner(held);
    if (outcome !== undefined) held.unsettled = { outcome, phase: held.phase, reply: undefined };
    // It goes on by itself; who waits for an agent that does not answer must not keep this one from serving.
    const settling = held.ongoing.within(() => this.#settling.settle(held, held.phase, cause));
    await Promise.race([settling, delay(takeOverMs, undefined, { ref: false })]);
  }

  /** Looks after migrations that nobody goes on with, until disposed of. */
  startTicking(): void {
    this.#ticking = this.#tickUntilStopped();
  }

  async #tickUntilStopped(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      for (const held of this.all()) this.#startLookingAfter(held);
      await this.#assertIfDue();
      await this.#options.gate.opened();
      await this.#abandoned.sweepIfDue(signal);
      await delay(tickMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
    await Promise.all(this.#lookedAfter.values());
  }

  /** The register has been seen to have forgotten. */
  assertSoon(): void {
    this.#assertAtMs = -Infinity;
  }

  /** The register has been seen to have forgotten, so that the ownership records may be lost: this one is asserted when this returns, if Redis answers. */
  async assertNow(held: Held<State>): Promise<void> {
    this.assertSoon();
    await this.#assertOwner(held);
  }

  async #assertIfDue(): Promise<void> {
    const { clock, jobs } = this.#options;
    if (this.#connections === jobs.connections && clock.monotonic() < this.#assertAtMs) return;
    this.#connections = jobs.connections;
    this.#assertAtMs = clock.monotonic() + assertEveryMs;
    await Promise.all(this.all().map((held) => this.#assertOwner(held)));
  }

  async #assertOwner(held: Held<State>): Promise<void> {
    const { assertOwner, clock, log } = this.#options;
    await assertOwner(held).catch((error: unknown) => {
      log.debug({ err: error, ...labelsOf(held) }, 'the guest’s ownership could not be asserted');
      this.#assertAtMs = Math.min(this.#assertAtMs, clock.monotonic() + assertAgainMs);
    });
  }

  #startLookingAfter(held: Held<State>): void {
    if (this.#lookedAfter.has(held)) return;
    const looking = this.#lookAfter(held)
      .catch((error: unknown) => this.#options.log.error({ err: error, ...labelsOf(held) }, 'cannot look after it'))
      .finally(() => this.#lookedAfter.delete(held));
    this.#lookedAfter.set(held, looking);
  }

  async #lookAfter(held: Held<State>): Promise<void> {
    const { clock, patienceMs, busy } = this.#options;
    if (held.job.signal.aborted && held.unsettled === undefined) await this.#regain(held);
    if (held.executing) return;
    if (held.unsettled !== undefined) return this.#settling.goOn(held);
    if (held.driven || busy(held)) held.touchedMs = clock.monotonic();
    const idle = clock.monotonic() - held.touchedMs;
    if (idle < patienceMs(held)) return;
    const { migrationId } = held.ongoing.start;
    await this.giveUp(
      held,
      new MigrationError(
        'abandoned',
        `nobody went on with migration ${migrationId} for ${Math.round(idle / 1000)} s after phase ${held.phase}`,
      ),
    );
  }

  /**
   * Gives up what is under way, as far as that goes in a short time: QEMU would stop the guest to switch over, and wait for somebody who
   * lets it. What is left is for the agent's next life.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const cause = new AgentError('draining', 'the agent was asked to end during the migration');
    for (const held of this.all()) this.giveUp(held, cause).catch(() => undefined);
    const patience = AbortSignal.timeout(drainMs);
    while (!patience.aborted && this.all().some((held) => held.executing)) await delay(10);
    this.#stopping.abort();
    for (const { ongoing } of this.all()) ongoing.leave();
    await this.#ticking;
  }
}
