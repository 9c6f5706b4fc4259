/**
 * Before the guest is stopped: whether all that the blackout needs answers, looked at while memory flows. As long as something does not, QEMU is
 * told to send so that it does not come to an end. A guest that had all but come to its end, and is stopped nevertheless, is not sent.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { handoverOf, isUnconnected } from '@ferry/agent';
import { HandoverError } from '@ferry/handover';
import { type Limits, MigrationError } from '@ferry/migration';
import type { CheckReadyResponse } from '@ferry/proto/ferry/v1/dest_agent';
import type { Monitor } from '@ferry/qemu-qmp';
import { failureOf } from '@ferry/rpc';
import { type HeldOut, journal, type SourceAgent } from './agent.ts';

/** How often it is looked at, and how long the others may take to answer, ms. */
const checkMs = 500;
const answerMs = 1_500;
/** How long, before memory flows, an agent that refuses connections is waited for, ms. */
const connectMsMax = 10_000;
/** What was asked longer ago than this, and answered, is asked once more when the guest has been stopped, ms. */
const freshMs = 1_500;
/** How often the destination is asked whether its QEMU receives, until it does; how long a guest that was stopped first waits for that, ms. */
const proofEveryMs = 5;
const proofMsMax = 500;

/**
 * QEMU stops the guest when what is left can be sent within the downtime limit, by the speed it measures. (A limit of 0 is no help: with it 7.2
 * does not look for dirty pages again at the end of a pass, and stops the guest with all of them left; ram_save_pending in migration/ram.c.)
 */
const holdDowntimeMs = 1;
/** The last of a pass is kept back: QEMU sends one page in a tenth of a second, which is less than a guest dirties. */
const trickleBytesPerSecond = 10;
/** As long as what is left takes longer than this, memory flows at full speed, s. */
const lastOfPassSeconds = 2;

export class Readiness {
  readonly #agent: SourceAgent;
  readonly #held: HeldOut;
  readonly #monitor: Monitor;
  readonly #limits: Limits;
  #missing: Error | undefined;
  #missingSinceMs = 0;
  /** When what answers now was asked. */
  #answeredMs = 0;
  /** QEMU sends. */
  #sending = false;
  /** While it does, the agent that is asked has said that its QEMU receives: it holds the QEMU that the URI leads to. */
  readonly #proof = Promise.withResolvers<void>();
  #proven = false;

  constructor(agent: SourceAgent, held: HeldOut, monitor: Monitor, limits: Limits) {
    this.#agent = agent;
    this.#held = held;
    this.#monitor = monitor;
    this.#limits = limits;
  }

  /** Why the guest, which QEMU has stopped, must not be sent; undefined if it may. A proof that is under way is waited for, for a short time. */
  refusal(): Error | undefined | Promise<Error | undefined> {
    const refused = (missing: Error | undefined) => missing && notReady(this.#held, 'as it was to be stopped', missing);
    const isFresh = this.#agent.clock.monotonic() - this.#answeredMs <= freshMs;
    if (this.#missing !== undefined || (this.#proven && isFresh)) return refused(this.#missing);
    const late = delay(proofMsMax, undefined, { ref: false });
    const proven = Promise.race([this.#proof.promise, late]).then(() =>
      this.#proven ? undefined : this.#notReceiving(),
    );
    return Promise.all([proven, isFresh ? undefined : this.#askAgain()]).then(([unproven, unanswered]) =>
      refused(this.#missing ?? unproven ?? unanswered),
    );
  }

  /** What answered too long ago is asked once more: a look that hangs is no answer. */
  async #askAgain(): Promise<Error | undefined> {
    const ms = Math.round(this.#agent.clock.monotonic() - this.#answeredMs);
    return this.#ask(AbortSignal.timeout(this.#agent.config.stallMs)).then(
      () => undefined,
      (cause: unknown) => {
        const message = `the register and the agent at ${this.#held.state.destinationAddress} answered together ${ms} ms ago, and not again: ${String(cause)}`;
        return new MigrationError('not-ready', message, { cause });
      },
    );
  }

  async #ask(patience: AbortSignal): Promise<void> {
    const askedMs = this.#agent.clock.monotonic();
    await Promise.all([
      keepRegistered(this.#agent, this.#held, patience),
      askDestination(this.#agent, this.#held, false, patience),
    ]);
    this.#answeredMs = askedMs;
  }

  /** QEMU has begun to send, or goes on: asks until the destination's QEMU is known to receive. */
  sending(signal: AbortSignal): void {
    if (this.#sending) return;
    this.#sending = true;
    this.#prove(signal).catch((error: unknown) => {
      if (!signal.aborted) this.#agent.log.error({ err: error }, 'the destination cannot be asked for its stream');
    });
  }

  async #prove(signal: AbortSignal): Promise<void> {
    for (;;) {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
      // One that cannot be asked is missed by `check`, which says why.
      const answer = await askDestination(this.#agent, this.#held, true, patience).catch(() => undefined);
      signal.throwIfAborted();
      if (answer?.receiving === true) break;
      await delay(proofEveryMs, undefined, { signal });
    }
    this.#proven = true;
    this.#proof.resolve();
  }

  #notReceiving(): Error {
    const { ongoing, state } = this.#held;
    const message = `the QEMU that waits for migration ${ongoing.start.migrationId} under the agent at ${state.destinationAddress} receives nothing`;
    return new MigrationError('not-ready', `${message}: pass on the URI that this agent’s Prepare returned`);
  }

  /** Looks once. Throws only what the signal or QEMU gives as a reason. */
  async check(signal: AbortSignal): Promise<void> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
    let missing: Error | undefined;
    try {
      await this.#ask(patience);
      this.#held.job.signal.throwIfAborted();
      if (this.#sending && !this.#proven) missing = this.#notReceiving();
    } catch (error) {
      signal.throwIfAborted();
      missing = error instanceof Error ? error : new Error(String(error), { cause: error });
      if (error instanceof HandoverError && error.kind === 'register-changed') {
        // Not before we hold: a guest that votes must find the record that both sides know.
        this.#agent.migrations.assertSoon();
        await this.#set(missing, signal);
        await registerAnew(this.#agent, this.#held, patience).catch(() => signal.throwIfAborted());
        return;
      }
    }
    await this.#set(missing, signal);
  }

  /**
   * Before memory flows: an agent that cannot be connected to may be starting; after some seconds it is not. What answers, and is missing something,
   * and Redis, are waited for while memory flows. Throws MigrationError destination-unreachable.
   */
  async connected(signal: AbortSignal): Promise<void> {
    const { clock } = this.#agent;
    const untilMs = clock.monotonic() + connectMsMax;
    while (isUnconnected(this.#missing)) {
      if (clock.monotonic() >= untilMs) {
        const { ongoing, state } = this.#held;
        const message = `domain ${ongoing.start.domainName} was not sent: its destination’s agent cannot be connected to at ${state.destinationAddress}`;
        const { message: why } = this.#missing;
        throw new MigrationError(
          'destination-unreachable',
          `${message} (${why}): is it running, and is that FERRY_ADDRESS right?`,
        );
      }
      await delay(checkMs, undefined, { signal });
      await this.check(signal);
    }
  }

  /** Goes on looking until `signal` aborts. Throws MigrationError not-ready when something stays missing for longer than FERRY_HOLD_MS. */
  async watch(signal: AbortSignal): Promise<void> {
    const { config, clock } = this.#agent;
    try {
      for (;;) {
        await delay(checkMs, undefined, { signal });
        await this.check(signal);
        if (this.#missing === undefined) continue;
        await this.#monitor.execute('migrate-set-parameters', await this.#slow(signal), signal);
        const heldMs = clock.monotonic() - this.#missingSinceMs;
        if (heldMs >= config.holdMs) throw notReady(this.#held, `for ${Math.round(heldMs / 1000)} s`, this.#missing);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #set(missing: Error | undefined, signal: AbortSignal): Promise<void> {
    const before = this.#missing;
    this.#missing = missing;
    if ((missing === undefined) === (before === undefined)) return;
    const { ongoing } = this.#held;
    const labels = { migrationId: ongoing.start.migrationId, domain: ongoing.start.domainUuid };
    if (missing === undefined) this.#agent.log.info(labels, 'what the switchover needs answers again');
    else {
      this.#missingSinceMs = this.#agent.clock.monotonic();
      this.#agent.log.warn({ err: missing, ...labels }, 'the switchover waits, memory flows');
    }
    ongoing.hold(missing === undefined ? undefined : failureOf(missing, { side: 'source', phase: this.#held.phase }));
    const { bandwidthBytesPerSecond, downtimeLimitMs } = this.#limits;
    const limits = { 'downtime-limit': downtimeLimitMs, 'max-bandwidth': bandwidthBytesPerSecond };
    await this.#monitor.execute(
      'migrate-set-parameters',
      missing === undefined ? limits : await this.#slow(signal),
      signal,
    );
  }

  /** Limits with which QEMU does not come to an end. */
  async #slow(signal: AbortSignal): Promise<{ 'downtime-limit': number; 'max-bandwidth': number }> {
    const { bandwidthBytesPerSecond, downtimeLimitMs } = this.#limits;
    const { ram } = await this.#monitor.execute('query-migrate', {}, signal);
    const flows = ram !== undefined && ram.remaining > bandwidthBytesPerSecond * lastOfPassSeconds;
    const bandwidth = flows ? bandwidthBytesPerSecond : trickleBytesPerSecond;
    return { 'downtime-limit': Math.min(downtimeLimitMs, holdDowntimeMs), 'max-bandwidth': bandwidth };
  }
}

function notReady({ ongoing }: HeldOut, when: string, missing: Error): MigrationError {
  const message = `domain ${ongoing.start.domainName} was not stopped and runs on: what the switchover needs did not answer ${when}`;
  return new MigrationError('not-ready', `${message}: ${missing.message}`, { cause: missing });
}

async function keepRegistered(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const of = handoverOf(held);
  const { source, dest } = await agent.register.renew(of, signal);
  held.state.destinationAddress ||= dest;
  // Forgotten since Begin, and made anew by the destination's Prepare: there has been no vote, so it may be told again. It is never made here: a
  // record that is forgotten once more is missed, or a late script would hide that.
  if (source === '') await agent.register.join(of, signal);
}

/** Redis lives anew, or has lost the record: this side has not voted, so it may go on under the new life (spec/README.md, step 2). */
async function registerAnew(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const incarnation = await agent.register.incarnation(signal);
  await agent.register.begin({ ...handoverOf(held), incarnation }, signal);
  signal.throwIfAborted();
  const before = held.state.incarnation;
  held.state.incarnation = incarnation;
  // It counts once it is durable: after a crash this side asks under the life that it voted for.
  await journal(agent, held).catch((error: unknown) => {
    held.state.incarnation = before;
    throw error;
  });
}

export async function askDestination(
  agent: SourceAgent,
  { ongoing, state }: HeldOut,
  streamOnly: boolean,
  signal: AbortSignal,
): Promise<CheckReadyResponse> {
  const { destinationAddress, incarnation, run } = state;
  if (destinationAddress === '') {
    const message = `the register does not say where the destination of ${ongoing.start.domainName} is reached`;
    throw new MigrationError('destination-unreachable', message);
  }
  const { migrationId, domainUuid: domain } = ongoing.start;
  const question = { migrationId, domain, incarnation, run, askerAddress: agent.config.address };
  const asker = { ...question, streamOnly, askerHost: agent.config.host.name };
  const answer = await agent.destinationAt(destinationAddress).checkReady(asker, signal);
  state.peerHost ||= answer.host;
  if (answer.cookieKey.length > 0) state.cookieKey ??= answer.cookieKey;
  ongoing.peer ||= answer.host;
  return answer;
}
