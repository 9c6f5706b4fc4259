/** What an agent knows of its migrations, for those who watch: phases, progress, switchover, the end. Kept in memory, bounded. */
import { context, type Span, trace } from '@opentelemetry/api';
import { noDigest } from './request-digest.ts';
import { phaseNumber, type Phase, type Side } from '@ferry/migration';
import {
  type Doubt,
  type Failure,
  type Migration,
  type MigrationEvent,
  MigrationStatistics,
  Outcome,
  Protocol,
  Side as WireSide,
} from '@ferry/proto/ferry/v1/migration';
import { BlackoutGate } from './blackout-gate.ts';
import { AgentError } from './errors.ts';

/** Progress reports kept for those who start to watch late; older ones make room for newer ones. */
const eventsMax = 1_000;
/** Watchers of one migration. */
const watchersMax = 64;
/** Watchers hear of an event so much later. */
const tellAfterMs = 2;
/** Ended migrations kept in memory; older ones are in Redis. */
const endedMax = 500;

const wireSide: Readonly<Record<Side, WireSide>> = { source: WireSide.SIDE_SOURCE, dest: WireSide.SIDE_DEST };

export interface OngoingStart {
  readonly migrationId: string;
  readonly domainUuid: string;
  readonly domainName: string;
  readonly side: Side;
  readonly protocol: 2 | 3;
  /** The trace that it was begun in by this agent’s life before, as W3C’s header has it. */
  readonly traceparent?: string | undefined;
  /** Who asked for it, by the name in their certificate; "" if that is not known. */
  readonly requester?: string | undefined;
}

/** The words a migration's job record keeps of its end; `lost`: the guest runs nowhere any more; `ended`: likewise, by its own or its user's doing. */
export type OutcomeWord = 'completed' | 'failed' | 'cancelled' | 'lost' | 'ended';

const wireOutcome: Readonly<Record<OutcomeWord, Outcome>> = {
  completed: Outcome.OUTCOME_COMPLETED,
  failed: Outcome.OUTCOME_FAILED,
  cancelled: Outcome.OUTCOME_CANCELLED,
  lost: Outcome.OUTCOME_GUEST_LOST,
  ended: Outcome.OUTCOME_GUEST_ENDED,
};

/** All of them. */
export const outcomeWords = Object.keys(wireOutcome) as readonly OutcomeWord[];

/** Hears what becomes of an agent's migrations, at once and in the trace in which it happens. */
export interface MigrationObserver {
  started(ongoing: Ongoing): void;
  /** QEMU has given new figures. */
  progressed(ongoing: Ongoing): void;
  /** Its switchover begins to wait for that. */
  held(ongoing: Ongoing, cause: Failure): void;
  /** Which host may run the guest is not known, for that reason. */
  doubted(ongoing: Ongoing, doubt: Doubt): void;
  ended(ongoing: Ongoing): void;
  /** This agent ends, and it has not. */
  left(ongoing: Ongoing): void;
}

/** What its observers and gauges need: whom a history or a test makes is not observed. */
export interface OngoingOptions {
  readonly gate?: BlackoutGate;
  readonly observer?: MigrationObserver | undefined;
}

export class Ongoing {
  readonly start: OngoingStart;
  readonly startedAt: Date;
  /** Its own, from its first phase here until it has ended; none where nobody observes it. */
  span: Span | undefined;
  /** When its guest was stopped for the switchover, and when one that was not taken over ran again here, µs since 1970. */
  stoppedAtUs: number | undefined;
  resumedHereAtUs: number | undefined;
  peer = '';
  /** HOST:PORT of the other agent, where the driver has named it. */
  peerAddress = '';
  /** The digest of the request for the whole migration, where one asked for that: peer to peer. */
  asked: Uint8Array = noDigest;
  statistics: MigrationStatistics = MigrationStatistics.fromPartial({});
  #phase: Phase | undefined;
  #phaseStartedUs = 0;
  #outcome: OutcomeWord | undefined;
  #endedAt: Date | undefined;
  #failure: Failure | undefined;
  #doubt: Doubt | undefined;
  #hold: Failure | undefined;
  readonly #events: MigrationEvent[] = [];
  #watchers = 0;
  /** Resolves when there is another event; one for all who watch. */
  #changed = Promise.withResolvers<void>();
  #telling = false;
  readonly #asked = new AbortController();

  readonly #gate: BlackoutGate;
  readonly #observer: MigrationObserver | undefined;

  constructor(
    start: OngoingStart,
    startedAt = new Date(),
    { gate = new BlackoutGate(), observer }: OngoingOptions = {},
  ) {
    this.start = start;
    this.startedAt = startedAt;
    this.#gate = gate;
    this.#observer = observer;
    observer?.started(this);
  }

  /** Aborts when somebody asks for the migration to be given up; the reason says who or why. */
  get abandonSignal(): AbortSignal {
    return this.#asked.signal;
  }

  askToAbort(reason: Error): void {
    this.#asked.abort(reason);
  }

  get ended(): boolean {
    return this.#outcome !== undefined;
  }

  get outcome(): Outcome {
    return this.#outcome === undefined ? Outcome.OUTCOME_UNSPECIFIED : wireOutcome[this.#outcome];
  }

  /** Likewise, in the words of the jobs' records; undefined while it goes on. */
  get outcomeWord(): OutcomeWord | undefined {
    return this.#outcome;
  }

  get endedAt(): Date | undefined {
    return this.#endedAt;
  }

  /** This side's phase that began last. */
  get phase(): Phase | undefined {
    return this.#phase;
  }

  /** The trace that it is in; "" for none. */
  get traceId(): string {
    return this.span?.spanContext().traceId ?? '';
  }

  /** Runs that within its span. */
  within<T>(run: () => T): T {
    return this.span === undefined ? run() : context.with(trace.setSpan(context.active(), this.span), run);
  }

  get inDoubt(): boolean {
    return this.#doubt !== undefined;
  }

  /** Its switchover waits for something. */
  get holds(): boolean {
    return this.#hold !== undefined;
  }

  get failure(): Failure | undefined {
    return this.#failure;
  }

  phaseStarted(side: Side, phase: Phase): void {
    if (side === this.start.side) this.#phase = phase;
    this.#phaseStartedUs = nowUs();
    this.#add({
      $case: 'phaseChanged',
      value: { side: wireSide[side], phase: phaseNumber[phase], done: false, tookUs: 0n },
    });
  }

  phaseDone(side: Side, phase: Phase): void {
    const tookUs = BigInt(Math.round(nowUs() - this.#phaseStartedUs));
    this.#add({
      $case: 'phaseChanged',
      value: { side: wireSide[side], phase: phaseNumber[phase], done: true, tookUs },
    });
  }

  progress(qemuStatus: string, statistics: MigrationStatistics): void {
    this.statistics = statistics;
    this.#add({ $case: 'progress', value: { qemuStatus, statistics } });
    this.#observer?.progressed(this);
  }

  /** The switchover waits for something that does not answer; undefined: for nothing any more. */
  hold(cause: Failure | undefined): void {
    this.#hold = cause;
    this.#add({ $case: 'hold', value: { cause } });
    if (cause !== undefined) this.#observer?.held(this, cause);
  }

  /** Nobody here knows which host may run the guest, and what would tell; undefined: that is over. Said again only when it changes. */
  doubt(doubt: Doubt | undefined): void {
    if (doubt?.cause?.message === this.#doubt?.cause?.message && doubt?.settledBy === this.#doubt?.settledBy) return;
    this.#doubt = doubt;
    if (doubt !== undefined) this.#observer?.doubted(this, doubt);
    this.#add({ $case: 'doubt', value: doubt ?? { cause: undefined, settledBy: '' } });
  }

  /** Called when the guest has stopped on the source: the blackout is on. */
  onStopped: (() => void) | undefined;

  switchover(side: Side, atUs: number): void {
    if (side === 'source') {
      this.stoppedAtUs = atUs;
      this.onStopped?.();
    }
    this.#add({ $case: 'switchover', value: { side: wireSide[side], atUs: BigInt(Math.round(atUs)) } });
  }

  /** The first end counts; `failure` is the first cause. */
  end(outcome: OutcomeWord, failure: Failure | undefined): void {
    if (this.ended) return;
    this.doubt(undefined);
    this.#outcome = outcome;
    this.#endedAt = new Date();
    this.#failure = failure;
    this.#hold = undefined;
    this.#add({ $case: 'ended', value: { outcome: this.outcome, failure, statistics: this.statistics } });
    this.#observer?.ended(this);
  }

  /** This agent ends, and leaves the rest to its next life. */
  leave(): void {
    if (!this.ended) this.#observer?.left(this);
  }

  /** Nothing is told after the end, whatever comes late. */
  #add(event: NonNullable<MigrationEvent['event']>): void {
    if (this.#events.at(-1)?.event?.$case === 'ended') return;
    if (this.#events.length >= eventsMax) {
      const progress = this.#events.findIndex((e) => e.event?.$case === 'progress');
      this.#events.splice(Math.max(0, progress), 1);
    }
    this.#events.push({ at: new Date(), event });
    // Telling those who watch takes time that is better spent on the guest.
    if (this.#telling) return;
    this.#telling = true;
    const tell = (): void => {
      this.#telling = false;
      const { resolve } = this.#changed;
      this.#changed = Promise.withResolvers();
      resolve();
    };
    setTimeout(() => this.#gate.whenOpen(tell), tellAfterMs).unref();
  }

  /** `follow`, for a caller. Throws AgentError too-many-watchers. */
  async *watch(signal: AbortSignal): AsyncIterable<MigrationEvent> {
    if (this.#watchers >= watchersMax) {
      const { migrationId } = this.start;
      const message = `${watchersMax} watch migration ${migrationId} already: ask with GetMigration, or call again in a second`;
      throw new AgentError('too-many-watchers', message);
    }
    this.#watchers += 1;
    try {
      yield* this.follow(signal);
    } finally {
      this.#watchers -= 1;
    }
  }

  /** The events from the beginning until the end. A watcher that is slow misses progress, nothing else, and nothing is kept for it. */
  async *follow(signal: AbortSignal): AsyncIterable<MigrationEvent> {
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => undefined);
    const abort = (): void => aborted.reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    const seen = new WeakSet<MigrationEvent>();
    try {
      for (;;) {
        signal.throwIfAborted();
        const changed = this.#changed.promise;
        for (const event of this.#events.slice()) {
          if (seen.has(event)) continue;
          seen.add(event);
          yield event;
        }
        if (this.ended && this.#events.every((event) => seen.has(event))) return;
        await Promise.race([changed, aborted.promise]);
      }
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** The migration as this agent knows it now. */
  describe(): Migration {
    return {
      migrationId: this.start.migrationId,
      domainUuid: this.start.domainUuid,
      domainName: this.start.domainName,
      side: wireSide[this.start.side],
      protocol: this.start.protocol === 2 ? Protocol.PROTOCOL_V2 : Protocol.PROTOCOL_V3,
      phase: this.#phase === undefined ? 0 : phaseNumber[this.#phase],
      active: !this.ended,
      outcome: this.#doubt === undefined ? this.outcome : Outcome.OUTCOME_IN_DOUBT,
      failure: this.#failure,
      statistics: this.statistics,
      peer: this.peer,
      startedAt: this.startedAt,
      doubt: this.#doubt,
      host: '',
      endedAt: undefined,
      requester: this.start.requester ?? '',
    };
  }
}

/** Microseconds since 1970 by this host's clock, the unit of QEMU's event timestamps. */
export const nowUs = (): number => (performance.timeOrigin + performance.now()) * 1_000;

/** The migrations of one agent, by migration id. */
export class OngoingMigrations {
  readonly #byId = new Map<string, Ongoing>();
  readonly #options: OngoingOptions;

  /** Those who watch hear of nothing while the gate is closed. */
  constructor(options: OngoingOptions = {}) {
    this.#options = options;
  }

  find(migrationId: string): Ongoing | undefined {
    return this.#byId.get(migrationId);
  }

  /** The migration of that id, made known if it is not. */
  open(start: OngoingStart): Ongoing {
    const known = this.#byId.get(start.migrationId);
    if (known !== undefined && !known.ended) return known;
    const ongoing = new Ongoing(start, new Date(), this.#options);
    this.#byId.set(start.migrationId, ongoing);
    for (const [id, older] of this.#byId) {
      if (this.#byId.size <= endedMax) break;
      if (older.ended) this.#byId.delete(id);
    }
    return ongoing;
  }

  /** Those that have not ended. */
  active(): Ongoing[] {
    return [...this.#byId.values()].filter((ongoing) => !ongoing.ended);
  }

  /** Those, and the ones that have ended less than `ms` ago: the newest `most`. */
  recent(ms: number, most: number): Ongoing[] {
    const sinceMs = Date.now() - ms;
    const recent = [...this.#byId.values()].filter(({ endedAt }) => (endedAt?.getTime() ?? Infinity) > sinceMs);
    return recent.slice(-most);
  }
}
