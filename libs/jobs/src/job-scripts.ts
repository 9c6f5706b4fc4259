import { domainOfKey } from '@ferry/redis';
import type { Redis } from 'ioredis';
import type { Clock } from './clock.ts';
import { JobError } from './errors.ts';
import { alreadyMigrating, holderOf, type InTheWay, shortInTheWay, textOf } from './holders.ts';
import { type DomainKeys, keysOf, recordsOf, slotsOf } from './keys.ts';
import { type JobKind, jobKindOf, maskOf, type ShortJobKind } from './masks.ts';
import { redisCall, wordsOf } from './redis-call.ts';
import { defineScripts } from './script-commands.ts';

/**
 * What a migration's record outlives its end by, seconds: callers may repeat their calls that long. As long as the register's decision and the
 * journals, so that an id is either known to all of them or to none.
 */
const recordSeconds = 7 * 24 * 60 * 60;

/** A phase's reply, to be given again to whoever repeats the call. */
export interface PhaseReply {
  readonly phase: string;
  readonly bytes: Uint8Array;
}

/** Who asks: this agent, and which life of it. */
export interface JobsIdentity {
  readonly host: string;
  readonly owner: string;
  /** New for each process: tells an agent's jobs from those that it held before a restart. */
  readonly instance: string;
  readonly kind: JobKind;
  readonly leaseMs: number;
}

/** One migration's job as a script is told of it. */
export interface JobRef {
  readonly domain: string;
  readonly migrationId: string;
  readonly token: string;
}

/** A phase to be recorded; `step` counts what this holder has asked to be recorded. */
export interface PhaseStep {
  readonly phase: string;
  readonly after: readonly string[];
  readonly step: number;
  readonly mode: 'start' | 'set';
}

/** The last step that Redis has confirmed to this holder, and the phase since then. */
export interface KnownPhase {
  readonly phase: string;
  readonly step: number;
}

/** An async job as Redis shows it. */
export interface ActiveJob {
  readonly migrationId: string;
  readonly kind: JobKind;
  readonly phase: string;
  readonly owner: string;
  readonly executing: boolean;
  readonly leased: boolean;
}

/** The Lua scripts' typed face and only caller: builds the keys, sends, and turns each word into a return or a JobError. */
export class JobScripts {
  readonly #redis: Redis;
  readonly #clock: Clock;
  readonly #me: JobsIdentity;

  constructor(redis: Redis, clock: Clock, me: JobsIdentity) {
    this.#redis = redis;
    this.#clock = clock;
    this.#me = me;
    defineScripts(redis);
  }

  /** Takes the slot; or says which short job must end first. Throws already-migrating | phase-out-of-order. */
  async start(
    job: JobRef,
    startedAtMs: number,
    options: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<'ok' | InTheWay> {
    const { slot, lease, short, record } = this.#keys(job);
    const me = this.#me;
    const args = [
      job.token,
      ms(me.leaseMs),
      job.migrationId,
      me.kind,
      me.owner,
      me.instance,
      ms(startedAtMs),
      job.domain,
    ];
    args.push(maskOf(me.kind, false), ...pairsOf(options));
    const send = () => this.#redis.ferryJobStart(slot, lease, record(job.migrationId), short, ...args);
    const reply = await this.#call('job-start', send, signal);
    const words = wordsOf(reply, 'job-start', ['ok', 'already-migrating', 'short-job', 'ended']);
    if (words[0] === 'already-migrating') throw alreadyMigrating(job.domain, me.host, holderOf(words));
    if (words[0] === 'ended') {
      const what = `migration ${job.migrationId} of domain ${job.domain} on ${me.host}`;
      throw new JobError('phase-out-of-order', `${what} has ended already (${words[1]}): start anew under a new id`);
    }
    return words[0] === 'ok' ? 'ok' : shortInTheWay(words);
  }

  /**
   * Records the next phase if the job may go on to it. A record that is behind what we were told it had (`known`) is of a replica that has
   * become the master without having seen all: the lease is ours, so ours is the word that counts. Throws phase-out-of-order | lease-lost.
   */
  async phase(job: JobRef, next: PhaseStep, known: KnownPhase, signal: AbortSignal): Promise<void> {
    const recorded = await this.#tryPhase(job, next, signal);
    if (recorded === undefined) return;
    const behind = stepOf(recorded.step, job) < known.step && next.after.includes(known.phase);
    const again = behind ? { ...next, after: [...next.after, recorded.phase] } : undefined;
    if (again !== undefined && (await this.#tryPhase(job, again, signal)) === undefined) return;
    const what = `migration ${job.migrationId} of domain ${job.domain} on ${this.#me.host}`;
    const why = `${next.phase} may follow ${next.after.join(', ')} only`;
    throw new JobError('phase-out-of-order', `${what} is in phase ${recorded.phase}: ${why}`);
  }

  /** What is recorded, if the phase may not follow that. */
  async #tryPhase(
    job: JobRef,
    next: PhaseStep,
    signal: AbortSignal,
  ): Promise<{ phase: string; step: string } | undefined> {
    const { slot, lease, record } = this.#keys(job);
    const step = `${job.token}/${next.step}`;
    const args = [job.token, ms(this.#me.leaseMs), next.phase, step, next.mode, ...next.after];
    const send = () => this.#redis.ferryJobPhase(slot, lease, record(job.migrationId), ...args);
    const words = wordsOf(await this.#call('job-phase', send, signal), 'job-phase', [
      'ok',
      'lease-lost',
      'phase-out-of-order',
    ]);
    if (words[0] === 'lease-lost') throw this.#lost(job);
    return words[0] === 'ok' ? undefined : { phase: words[1] ?? 'none', step: words[2] ?? '' };
  }

  /** Nobody executes the job now. Throws lease-lost. */
  async continue(job: JobRef, reply: PhaseReply | undefined, signal: AbortSignal): Promise<void> {
    const { slot, lease, record } = this.#keys(job);
    const args: (string | Buffer)[] = [job.token, ms(this.#me.leaseMs), ...this.#subject(job)];
    if (reply !== undefined) args.push(reply.phase, bufferOf(reply.bytes));
    const send = () => this.#redis.ferryJobContinue(slot, lease, record(job.migrationId), ...args);
    await this.#held(job, 'job-continue', send, signal);
  }

  /** Ends the job; its record stays for 7 days. Throws lease-lost. */
  async finish(
    job: JobRef,
    end: { outcome: string; atMs: number; record: Readonly<Record<string, string>>; reply: PhaseReply | undefined },
    signal: AbortSignal,
  ): Promise<void> {
    const { slot, lease, record } = this.#keys(job);
    const reply = end.reply === undefined ? ['', ''] : [end.reply.phase, bufferOf(end.reply.bytes)];
    const args: (string | Buffer)[] = [
      job.token,
      ms(recordSeconds),
      end.outcome,
      ms(end.atMs),
      ...reply,
      ...this.#subject(job),
    ];
    args.push(...pairsOf(end.record));
    const send = () => this.#redis.ferryJobFinish(slot, lease, record(job.migrationId), ...args);
    await this.#held(job, 'job-finish', send, signal);
  }

  /** The async job that holds a domain on this host, whoever runs it. */
  async look(domain: string, signal: AbortSignal): Promise<ActiveJob | undefined> {
    const { slot, lease } = keysOf(domain, this.#me.host);
    const reply = await this.#call('job-look', () => this.#redis.ferryJobLook(slot, lease), signal);
    const words = wordsOf(reply, 'job-look', ['none', 'job']);
    if (words[0] === 'none') return undefined;
    const { kind, ...holder } = holderOf(words);
    return { ...holder, kind: jobKindOf(kind), executing: words[5] === 'yes', leased: words[6] === 'yes' };
  }

  /** The domains that an async job holds on this host, whoever runs it. Looks through all keys, some hundred thousand a second. */
  async domains(signal: AbortSignal): Promise<string[]> {
    const slots = await this.#keysLike(slotsOf(this.#me.host), signal);
    return [...new Set(slots.map(domainOfKey))];
  }

  /** The records of a domain's migrations, of all hosts, as they are stored. Looks through all keys. */
  async records(domain: string, signal: AbortSignal): Promise<Record<string, string>[]> {
    keysOf(domain, this.#me.host); // refuses what is no UUID
    const keys = await this.#keysLike(recordsOf(domain), signal);
    return Promise.all(keys.map((key) => this.#call('job-record', () => this.#redis.hgetall(key), signal)));
  }

  async #keysLike(pattern: string, signal: AbortSignal): Promise<string[]> {
    const found = new Set<string>();
    let cursor = '0';
    do {
      const scan = () => this.#redis.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000);
      const [next, keys] = await this.#call('scan', scan, signal);
      for (const key of keys) found.add(key);
      cursor = next;
    } while (cursor !== '0');
    return [...found];
  }

  /** Takes over an abandoned job with the new token; undefined if there is none, or its lease is alive. */
  async adopt(
    job: JobRef,
    signal: AbortSignal,
  ): Promise<{ phase: string; startedAtMs: number; options: Record<string, string> } | undefined> {
    const { slot, lease, record } = this.#keys(job);
    const me = this.#me;
    const args = [job.token, ms(me.leaseMs), job.migrationId, me.kind, me.owner, me.instance, maskOf(me.kind, true)];
    args.push(job.domain);
    const send = () => this.#redis.ferryJobAdopt(slot, lease, record(job.migrationId), ...args);
    const words = wordsOf(await this.#call('job-adopt', send, signal), 'job-adopt', ['adopted', 'none', 'held']);
    if (words[0] !== 'adopted') return undefined;
    const [, phase = 'none', startedAt = '0', ...options] = words;
    return { phase, startedAtMs: Number(startedAt), options: Object.fromEntries(unpaired(options)) };
  }

  /** Takes back a job that this process held, as it knows it; or says which short job must end first. Throws already-migrating. */
  async regain(
    job: JobRef,
    known: { phase: string; executing: boolean; startedAtMs: number; options: Readonly<Record<string, string>> },
    signal: AbortSignal,
  ): Promise<'ok' | InTheWay> {
    const { slot, lease, short, record } = this.#keys(job);
    const me = this.#me;
    const args = [job.token, ms(me.leaseMs), job.migrationId, me.kind, me.owner, me.instance];
    args.push(ms(known.startedAtMs), job.domain, maskOf(me.kind, true), known.phase, known.executing ? 'yes' : 'no');
    args.push(...pairsOf(known.options));
    const send = () => this.#redis.ferryJobRegain(slot, lease, record(job.migrationId), short, ...args);
    const reply = await this.#call('job-regain', send, signal);
    const words = wordsOf(reply, 'job-regain', ['ok', 'already-migrating', 'short-job']);
    if (words[0] === 'already-migrating') throw alreadyMigrating(job.domain, me.host, holderOf(words));
    return words[0] === 'ok' ? 'ok' : shortInTheWay(words);
  }

  /** Renews a job's lease: false if it is no longer ours. */
  async renewLease(job: JobRef, signal: AbortSignal): Promise<boolean> {
    const send = () => this.#redis.ferryLeaseRenew(this.#keys(job).lease, job.token, ms(this.#me.leaseMs));
    return wordsOf(await this.#call('lease-renew', send, signal), 'lease-renew', ['ok', 'lease-lost'])[0] === 'ok';
  }

  /** Takes the short job; or says what must end first. */
  async beginShort(
    job: { domain: string; token: string; kind: ShortJobKind; api: string },
    signal: AbortSignal,
  ): Promise<'ok' | InTheWay> {
    const { slot, short } = keysOf(job.domain, this.#me.host);
    const args = [job.token, ms(this.#me.leaseMs), job.kind, job.api, this.#me.owner];
    const reply = await this.#call('short-begin', () => this.#redis.ferryShortBegin(slot, short, ...args), signal);
    const words = wordsOf(reply, 'short-begin', ['ok', 'held-by-migration', 'held-by-short']);
    if (words[0] === 'ok') return 'ok';
    if (words[0] === 'held-by-short') return shortInTheWay(words);
    const holder = holderOf(words);
    return { by: textOf(holder), holder };
  }

  /** Renews a short job: false if it is no longer ours. */
  async renewShort(job: { domain: string; token: string }, signal: AbortSignal): Promise<boolean> {
    const { short } = keysOf(job.domain, this.#me.host);
    const send = () => this.#redis.ferryShortRenew(short, job.token, ms(this.#me.leaseMs));
    return wordsOf(await this.#call('short-renew', send, signal), 'short-renew', ['ok', 'lease-lost'])[0] === 'ok';
  }

  /** Ends a short job; one that is no longer ours has ended already. */
  async endShort(job: { domain: string; token: string }, signal: AbortSignal): Promise<void> {
    const { short } = keysOf(job.domain, this.#me.host);
    const reply = await this.#call('short-end', () => this.#redis.ferryShortEnd(short, job.token), signal);
    wordsOf(reply, 'short-end', ['ok', 'lease-lost']);
  }

  /** A migration's record, as it is stored. */
  async record(domain: string, migrationId: string, signal: AbortSignal): Promise<Record<string, string>> {
    const key = keysOf(domain, this.#me.host).record(migrationId);
    return this.#call('job-record', () => this.#redis.hgetall(key), signal);
  }

  /** What was answered to a phase. */
  async reply(domain: string, migrationId: string, phase: string, signal: AbortSignal): Promise<Buffer | undefined> {
    const key = keysOf(domain, this.#me.host).record(migrationId);
    const reply = await this.#call('job-reply', () => this.#redis.hgetBuffer(key, `reply:${phase}`), signal);
    return reply ?? undefined;
  }

  /** The digest of a request that was carried out under this id; undefined if none was. */
  async requestOf(domain: string, requestId: string, signal: AbortSignal): Promise<Buffer | undefined> {
    const key = keysOf(domain, this.#me.host).request(requestId);
    return (await this.#call('request-look', () => this.#redis.getBuffer(key), signal)) ?? undefined;
  }

  async keepRequest(domain: string, requestId: string, digest: Uint8Array, signal: AbortSignal): Promise<void> {
    const key = keysOf(domain, this.#me.host).request(requestId);
    await this.#call('request-keep', () => this.#redis.set(key, Buffer.from(digest), 'EX', recordSeconds), signal);
  }

  async #held(job: JobRef, name: string, send: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
    const words = wordsOf(await this.#call(name, send, signal), name, ['ok', 'lease-lost']);
    if (words[0] === 'lease-lost') throw this.#lost(job);
  }

  #call<T>(name: string, send: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return redisCall(this.#clock, name, send, signal);
  }

  /** What a record is of, to be written where it does not say so. */
  #subject({ migrationId, domain }: JobRef): string[] {
    const { kind, owner } = this.#me;
    return [migrationId, kind, owner, domain];
  }

  #keys(job: JobRef): DomainKeys {
    return keysOf(job.domain, this.#me.host);
  }

  #lost(job: JobRef): JobError {
    const what = `migration ${job.migrationId} of domain ${job.domain} on ${this.#me.host}`;
    return new JobError('lease-lost', `the lease of ${what} is lost: another holder has it, or Redis has forgotten it`);
  }
}

/** The number of a recorded step; 0 for one of another holder, or none. */
const stepOf = (recorded: string, { token }: JobRef): number =>
  recorded.startsWith(`${token}/`) ? Number(recorded.slice(token.length + 1)) : 0;

const ms = (value: number) => String(Math.round(value));
const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const pairsOf = (record: Readonly<Record<string, string>>) => Object.entries(record).flat();

function* unpaired(flat: readonly string[]): Generator<[string, string]> {
  for (let i = 0; i + 1 < flat.length; i += 2) yield [flat[i] ?? '', flat[i + 1] ?? ''];
}
