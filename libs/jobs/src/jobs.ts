import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Clock } from './clock.ts';
import { JobError } from './errors.ts';
import { alreadyMigrating } from './holders.ts';
import { decodeRecord, type JobRecord } from './job-record.ts';
import { type ActiveJob, type JobRef, JobScripts, type JobsIdentity, type PhaseReply } from './job-scripts.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import type { JobKind, ShortJobKind } from './masks.ts';
import type { HeldJob, MigrationJob, PhaseTable } from './migration-job.ts';
import { beginShortJob, type ShortJob, untilFree } from './short-jobs.ts';

export interface MigrationJobsOptions {
  readonly redis: Redis;
  readonly host: string;
  /** Who holds, for messages: "source-agent@a". One process at a time may use it. */
  readonly owner: string;
  readonly kind: JobKind;
  readonly leaseMs: number;
  readonly phases: PhaseTable;
  readonly clock: Clock;
  /** How long to wait at most for a job in the way, ms. libvirt's is 30 s. */
  readonly waitMs?: number;
}

/** One agent's migration jobs: libvirt's helpers, over leases in Redis. Disposing of it stops all renewals and frees nothing. */
export class MigrationJobs implements Disposable {
  readonly #me: JobsIdentity;
  readonly #clock: Clock;
  readonly #phases: PhaseTable;
  readonly #waitMs: number;
  readonly #scripts: JobScripts;
  readonly #held = new Map<string, HeldJob>();
  readonly #starting = new Map<string, string>();
  readonly #views = new WeakMap<MigrationJob, HeldJob>();
  #connections = 0;

  constructor(options: MigrationJobsOptions) {
    const { redis, host, owner, kind, leaseMs, clock } = options;
    this.#me = { host, owner, kind, leaseMs, instance: randomUUID() };
    this.#clock = clock;
    this.#phases = options.phases;
    this.#waitMs = options.waitMs ?? 30_000;
    this.#scripts = new JobScripts(redis, clock, this.#me);
    redis.on('ready', () => {
      this.#connections += 1;
    });
  }

  /**
   * Takes the domain's async job and owns it, in phase "none". Waits, bounded, for a short job that is active; another migration
   * is refused at once. A repeated call is refused as well, with a holder of the same id: ask `replyOf` first.
   *
   * Throws JobError already-migrating | job-held | phase-out-of-order (this id has ended) | redis-unavailable.
   */
  async migrationJobStart(
    request: { domain: string; migrationId: string; options: Record<string, string> },
    signal: AbortSignal,
  ): Promise<MigrationJob> {
    const { domain, migrationId, options } = request;
    const { host, owner, kind } = this.#me;
    const held = this.#held.get(domain);
    const ours = held?.keeper.signal.aborted === false ? held.ref.migrationId : this.#starting.get(domain);
    if (ours !== undefined) {
      throw alreadyMigrating(domain, host, { migrationId: ours, kind, owner, phase: held?.phase ?? 'none' });
    }
    this.#starting.set(domain, migrationId);
    try {
      const ref = { domain, migrationId, token: randomUUID() };
      const startedAtMs = this.#clock.now();
      let sentAt = 0;
      const attempt = () => {
        sentAt = this.#clock.monotonic();
        return this.#scripts.start(ref, startedAtMs, options, signal);
      };
      const world = { clock: this.#clock, waitMs: this.#waitMs, host };
      await untilFree(world, { domain, wanted: `${kind} job of migration ${migrationId}` }, attempt, signal);
      return this.#hold(ref, { phase: 'none', startedAtMs, options, sentAt });
    } finally {
      this.#starting.delete(domain);
    }
  }

  /** The job, if this agent holds it. Throws JobError unknown-migration | foreign-migration | lease-lost. */
  migrationJobIsActive(domain: string, migrationId: string): MigrationJob {
    const { host, kind, owner } = this.#me;
    const held = this.#held.get(domain);
    if (held === undefined) {
      const what = kind === 'MIGRATION_OUT' ? 'is not being migrated away' : 'is not being received';
      throw new JobError(
        'unknown-migration',
        `domain ${domain} ${what} by ${owner} on ${host} (asked: ${migrationId})`,
      );
    }
    if (held.ref.migrationId !== migrationId) {
      const message = `domain ${domain} on ${host} is held by migration ${held.ref.migrationId} (phase ${held.phase})`;
      throw new JobError('foreign-migration', `${message}, not by ${migrationId}`);
    }
    held.keeper.check();
    return this.#view(held);
  }

  /** Takes ownership and records the phase. Throws JobError phase-in-progress | phase-out-of-order | lease-lost. */
  async migrationJobStartPhase(job: MigrationJob, phase: string, signal: AbortSignal): Promise<void> {
    const held = this.#heldBy(job, `start ${phase}`);
    const before = held.owner;
    held.owner = job; // at once: whoever comes while Redis is being asked must find it owned
    try {
      await this.#record(held, phase, 'start', signal);
    } catch (error) {
      held.owner = before;
      throw error;
    }
  }

  /** Records the phase and leaves the ownership as it is. Throws as `migrationJobStartPhase` does. */
  async migrationJobSetPhase(job: MigrationJob, phase: string, signal: AbortSignal): Promise<void> {
    await this.#record(this.#heldBy(job, `set ${phase}`), phase, 'set', signal);
  }

  /**
   * Releases the ownership; the lease goes on being renewed, and the job waits for its next phase. Keeps the phase's reply. When
   * Redis cannot be asked, or the lease is lost, the ownership is released all the same, or no call could ever settle the migration.
   */
  async migrationJobContinue(job: MigrationJob, reply: PhaseReply | undefined, signal: AbortSignal): Promise<void> {
    try {
      const held = this.#heldBy(job, 'continue');
      await this.#write(held, (joined) => this.#scripts.continue(held.ref, reply, joined), signal);
    } finally {
      this.#release(job);
    }
  }

  /** Ends the job. Its record and replies stay for 7 days. Throws JobError phase-in-progress | lease-lost. */
  async migrationJobFinish(
    job: MigrationJob,
    end: { outcome: string; record: Record<string, string>; reply?: PhaseReply },
    signal: AbortSignal,
  ): Promise<void> {
    const held = this.#heldBy(job, 'finish');
    const { outcome, record, reply } = end;
    const ended = { outcome, record, reply, atMs: this.#clock.now() };
    try {
      await this.#write(held, (joined) => this.#scripts.finish(held.ref, ended, joined), signal);
      held.keeper[Symbol.dispose]();
      if (this.#held.get(held.ref.domain) === held) this.#held.delete(held.ref.domain);
    } finally {
      this.#release(job);
    }
  }

  #release(job: MigrationJob): void {
    const held = this.#views.get(job);
    if (held?.owner === job) held.owner = undefined;
  }

  /** What was answered to a phase of a migration, kept 7 days after its end. */
  async replyOf(
    domain: string,
    migrationId: string,
    phase: string,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    return this.#scripts.reply(domain, migrationId, phase, signal);
  }

  /** The record of a migration on this host, or undefined. */
  async recordOf(domain: string, migrationId: string, signal: AbortSignal): Promise<JobRecord | undefined> {
    return decodeRecord(await this.#scripts.record(domain, migrationId, signal));
  }

  /** The records of a domain's migrations on all hosts, the latest first: those that go on, and those that ended in the last 7 days. */
  async recordsOf(domain: string, signal: AbortSignal): Promise<JobRecord[]> {
    const records = (await this.#scripts.records(domain, signal)).map(decodeRecord);
    return records.filter((record) => record !== undefined).toSorted((a, b) => b.startedAtMs - a.startedAtMs);
  }

  /** The digest of the request that was carried out on a domain under this id, kept as long as a migration's record. Throws JobError redis-unavailable. */
  async requestOf(domain: string, requestId: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    return this.#scripts.requestOf(domain, requestId, signal);
  }

  /** Keeps that a request has been carried out. */
  async keepRequest(domain: string, requestId: string, digest: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#scripts.keepRequest(domain, requestId, digest, signal);
  }

  /** The async job that Redis shows for a domain on this host, whoever holds it. */
  async activeOf(domain: string, signal: AbortSignal): Promise<ActiveJob | undefined> {
    return this.#scripts.look(domain, signal);
  }

  /** How often Redis has been connected to: a new one may have come back with jobs that had ended. */
  get connections(): number {
    return this.#connections;
  }

  get leaseMs(): number {
    return this.#me.leaseMs;
  }

  /** The domains that an async job holds on this host: what an agent that was restarted has to look after, also where no QEMU is left. */
  async domains(signal: AbortSignal): Promise<string[]> {
    return this.#scripts.domains(signal);
  }

  /**
   * Recovery: takes over, with a new token, a job of this kind that is abandoned: its lease has run out, or it was held by an
   * earlier process of this agent (same owner name). Owns it then. Undefined if there is none, or it is held.
   */
  async migrationJobAdopt(domain: string, signal: AbortSignal): Promise<MigrationJob | undefined> {
    if (this.#held.get(domain)?.keeper.signal.aborted === false || this.#starting.has(domain)) return undefined;
    const active = await this.#scripts.look(domain, signal);
    if (active === undefined || active.kind !== this.#me.kind) return undefined;
    const ref = { domain, migrationId: active.migrationId, token: randomUUID() };
    const sentAt = this.#clock.monotonic();
    const adopted = await this.#scripts.adopt(ref, signal);
    return adopted && this.#hold(ref, { ...adopted, sentAt });
  }

  /**
   * Reacquires a lease that was lost: Redis was away for longer than a lease, or has forgotten the job. One process at a time acts under an
   * agent's name, so nobody else can have executed it. The job stays the same, with a new token and signal, and whether a call owns it is not
   * touched: a phase may end, and another begin, while Redis is asked.
   *
   * Throws JobError already-migrating (another agent's job holds the domain) | job-held | redis-unavailable.
   */
  async migrationJobRegain(job: MigrationJob, signal: AbortSignal): Promise<void> {
    const held = this.#views.get(job);
    assert(held, 'a job comes from the MigrationJobs it is given to');
    const { phase, startedAtMs, options } = held;
    const another = this.#held.get(job.domain);
    if (another !== undefined && another.ref.migrationId !== job.migrationId && !another.keeper.signal.aborted) {
      const { ref: theirs, kind } = another;
      const holder = { migrationId: theirs.migrationId, kind, owner: this.#me.owner, phase: another.phase };
      throw alreadyMigrating(job.domain, this.#me.host, holder);
    }
    const ref = { ...held.ref, token: randomUUID() };
    const sentAt = this.#clock.monotonic();
    const executing = held.owner !== undefined;
    const known = { phase, executing, startedAtMs, options };
    const inTheWay = await this.#scripts.regain(ref, known, signal);
    if (inTheWay !== 'ok') {
      const what = `${job.kind} job of migration ${job.migrationId} of domain ${job.domain}`;
      throw new JobError('job-held', `the ${what} cannot be taken back before ${inTheWay.by} has ended`);
    }
    if (another !== held) another?.keeper[Symbol.dispose]();
    held.keeper[Symbol.dispose]();
    Object.assign(held, { ref, keeper: this.#keep(ref, sentAt), steps: 0, confirmedStep: 0 });
    this.#held.set(ref.domain, held);
    // Its phase has ended meanwhile, and could not be told so.
    if (executing && held.owner === undefined) await this.#scripts.continue(ref, undefined, signal);
  }

  /** Stops renewing a job that cannot be gone on with now: its lease runs out, and it can be adopted again. */
  migrationJobLetGo(job: MigrationJob): void {
    const held = this.#views.get(job);
    if (held === undefined || this.#held.get(job.domain) !== held) return;
    held.keeper[Symbol.dispose]();
    this.#held.delete(job.domain);
  }

  /**
   * Takes a domain's short job, if need be after waiting for whatever is in the way by libvirt's mask. A destroy is never masked
   * and takes the place of any other short job.
   *
   * Throws JobError job-held, naming the holder.
   */
  async beginJob(domain: string, kind: ShortJobKind, api: string, signal: AbortSignal): Promise<ShortJob> {
    const { host, leaseMs } = this.#me;
    const world = { scripts: this.#scripts, clock: this.#clock, host, leaseMs, waitMs: this.#waitMs };
    return beginShortJob(world, { domain, kind, api }, signal);
  }

  /** Stops all renewals: the leases run out, and the next process of this agent adopts the jobs. */
  [Symbol.dispose](): void {
    for (const held of this.#held.values()) held.keeper[Symbol.dispose]();
    this.#held.clear();
  }

  #hold(
    ref: JobRef,
    found: { phase: string; startedAtMs: number; options: Record<string, string>; sentAt: number },
  ): MigrationJob {
    const { phase, startedAtMs, options, sentAt } = found;
    const keeper = this.#keep(ref, sentAt);
    const held: HeldJob = {
      phase,
      startedAtMs,
      options,
      kind: this.#me.kind,
      ref,
      keeper,
      owner: undefined,
      steps: 0,
      confirmedStep: 0,
    };
    this.#held.get(ref.domain)?.keeper[Symbol.dispose]();
    this.#held.set(ref.domain, held);
    held.owner = this.#view(held);
    return held.owner;
  }

  #keep(ref: JobRef, sentAt: number): LeaseKeeper {
    const { kind, host, leaseMs } = this.#me;
    return new LeaseKeeper({
      clock: this.#clock,
      leaseMs,
      sentAt,
      what: `migration ${ref.migrationId} (${kind}) of domain ${ref.domain} on ${host}`,
      renew: (renewing) => this.#scripts.renewLease(ref, renewing),
    });
  }

  #view(held: HeldJob): MigrationJob {
    const { kind, startedAtMs, options } = held;
    const { domain, migrationId } = held.ref;
    const job: MigrationJob = {
      domain,
      migrationId,
      kind,
      startedAtMs,
      options,
      get token() {
        return held.ref.token;
      },
      get signal() {
        return held.keeper.signal;
      },
      get phase() {
        return held.phase;
      },
      get executing() {
        return held.owner !== undefined;
      },
    };
    this.#views.set(job, held);
    return job;
  }

  /** The job behind a view, if its call may act: it owns the job, or nobody does. */
  #heldBy(job: MigrationJob, wish: string): HeldJob {
    const held = this.#views.get(job);
    assert(held, 'a job comes from the MigrationJobs it is given to');
    held.keeper.check();
    if (this.#held.get(job.domain) !== held) {
      throw new JobError(
        'unknown-migration',
        `migration ${job.migrationId} of domain ${job.domain} has ended: cannot ${wish}`,
      );
    }
    if (held.owner !== undefined && held.owner !== job) {
      const message = `migration ${job.migrationId} of domain ${job.domain} on ${this.#me.host} is executing ${held.phase}`;
      throw new JobError('phase-in-progress', `${message} for another call: cannot ${wish} now`);
    }
    return held;
  }

  async #record(held: HeldJob, phase: string, mode: 'start' | 'set', signal: AbortSignal): Promise<void> {
    const rule = this.#phases[phase];
    assert(rule, `${phase} is a phase of the table`);
    const after = rule.after.length === 0 ? ['none'] : rule.after;
    const step = ++held.steps;
    const next = { phase, after, step, mode };
    const known = { phase: held.phase, step: held.confirmedStep };
    const { ref } = held;
    await this.#write(held, (joined) => this.#scripts.phase(ref, next, known, joined), signal);
    held.phase = phase;
    // Steps are counted anew under another token.
    if (held.ref === ref) held.confirmedStep = step;
  }

  /** One write under the lease, which it renews; a lease that Redis says is lost ends the job's signal too. */
  async #write(held: HeldJob, send: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const sentAt = this.#clock.monotonic();
    const { keeper } = held;
    try {
      await send(AbortSignal.any([signal, keeper.signal]));
      keeper.extended(sentAt);
    } catch (error) {
      if (error instanceof JobError && error.kind === 'lease-lost') keeper.lost('Redis no longer knows it as ours');
      throw error;
    }
  }
}
