import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Redis, Result } from 'ioredis';
import { HandoverError } from './errors.ts';
import { registerCall, wordsOf } from './register-call.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    ferryRegisterIncarnation(): Result<unknown, Context>;
    ferryRegisterBegin(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterVote(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterCommit(record: string, owner: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterAbort(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterLook(record: string): Result<unknown, Context>;
    ferryOwnerClaim(owner: string, ...args: string[]): Result<unknown, Context>;
    ferryOwnerLook(owner: string): Result<unknown, Context>;
  }
}

/** Each script's command and how many keys it takes. */
const scripts = {
  'register-incarnation': ['ferryRegisterIncarnation', 0],
  'register-begin': ['ferryRegisterBegin', 1],
  'register-vote': ['ferryRegisterVote', 1],
  'register-commit': ['ferryRegisterCommit', 2],
  'register-abort': ['ferryRegisterAbort', 1],
  'register-look': ['ferryRegisterLook', 1],
  'owner-claim': ['ferryOwnerClaim', 1],
  'owner-look': ['ferryOwnerLook', 1],
} as const;

const day = 24 * 60 * 60;
/** A record that is asked for after this is missing, which is answered as "register-changed": late, but never wrong. Seconds. */
const undecidedSeconds = String(30 * day);
const decidedSeconds = String(7 * day);

/** One handover. */
export interface Handover {
  /** UUID. */
  readonly domain: string;
  readonly migrationId: string;
}

/** A handover in the one life of Redis that the caller means. */
export interface HandoverUnder extends Handover {
  readonly incarnation: string;
}

export type Decision = 'committed' | 'aborted';

/** Who owns a guest. */
export interface Owner {
  readonly host: string;
  /** Grows by one each time the ownership is given anew. */
  readonly epoch: number;
  readonly evidence: string;
  readonly sinceMs: number;
}

/**
 * The register that holds the handover decision, and who owns each guest: R of spec/handover.pml, one script for each of its steps.
 *
 * Every script that votes or decides does nothing in another life of Redis than the one meant, and in one where the record that
 * `begin` made is missing: HandoverError register-changed. All throw register-unavailable when Redis cannot be asked; then
 * nobody knows whether the script has run.
 */
export class HandoverRegister {
  readonly #redis: Redis;
  readonly #host: string;

  constructor(options: { redis: Redis; host: string }) {
    this.#redis = options.redis;
    this.#host = options.host;
    for (const [file, [command, numberOfKeys]] of Object.entries(scripts)) {
      const lua = readFileSync(new URL(`./scripts/${file}.lua`, import.meta.url), 'utf8');
      this.#redis.defineCommand(command, { numberOfKeys, lua });
    }
  }

  /** Which life of Redis answers now: its run id. */
  async incarnation(signal: AbortSignal): Promise<string> {
    const name = 'register-incarnation';
    const reply = await registerCall(name, () => this.#redis.ferryRegisterIncarnation(), signal);
    return wordsOf(reply, name, ['alive'])[1] ?? '';
  }

  /**
   * Makes the record, or adds what this side knows to it; repeating it changes nothing. Call it before this side journals a vote or
   * a commit, never after: it would bring back a record that Redis has forgotten, and hide that it has.
   */
  async begin(r: HandoverUnder & { source?: string; destination?: string }, signal: AbortSignal): Promise<void> {
    const args = [r.incarnation, undecidedSeconds];
    if (r.source !== undefined) args.push('source', r.source);
    if (r.destination !== undefined) args.push('destination', r.destination);
    const send = () => this.#redis.ferryRegisterBegin(recordOf(r), ...args);
    await this.#ask('register-begin', r, send, ['ok'], signal);
  }

  /** The source's vote. Answers what has been decided under this incarnation already. */
  async vote(r: HandoverUnder, signal: AbortSignal): Promise<'undecided' | Decision> {
    const send = () => this.#redis.ferryRegisterVote(recordOf(r), r.incarnation, undecidedSeconds);
    return this.#ask('register-vote', r, send, ['undecided', 'committed', 'aborted'], signal);
  }

  /**
   * The destination's wish to run the guest. With `voteCarried` (the source's cookie says that it voted under this incarnation) the
   * vote is written in the same step; without, it must be there. A commit makes this host the owner.
   *
   * Throws HandoverError vote-missing.
   */
  async commit(r: HandoverUnder & { voteCarried: boolean }, signal: AbortSignal): Promise<Decision> {
    const vote = r.voteCarried ? 'carried' : 'recorded';
    const evidence = `migration ${r.migrationId} committed under ${r.incarnation}`;
    const args = [r.incarnation, decidedSeconds, vote, this.#host, evidence];
    const send = () => this.#redis.ferryRegisterCommit(recordOf(r), ownerKeyOf(r.domain), ...args);
    const word = await this.#ask('register-commit', r, send, ['committed', 'aborted', 'vote-missing'], signal);
    if (word === 'vote-missing') {
      const message = `the source has not voted for migration ${r.migrationId} of domain ${r.domain} under ${r.incarnation}`;
      throw new HandoverError('vote-missing', `${message}: ${this.#host} must not start the guest`);
    }
    return word;
  }

  /** Either side's wish that the source keeps the guest. */
  async abort(r: HandoverUnder, signal: AbortSignal): Promise<Decision> {
    const send = () => this.#redis.ferryRegisterAbort(recordOf(r), r.incarnation, decidedSeconds);
    return this.#ask('register-abort', r, send, ['committed', 'aborted'], signal);
  }

  /**
   * What the register knows, without deciding anything, and the incarnation that the vote is for ("" for none). A vote for another
   * life of Redis than the one that answers is void: "none".
   */
  async look(
    r: Handover,
    signal: AbortSignal,
  ): Promise<{ decision: 'none' | 'undecided' | Decision; incarnation: string }> {
    const reply = await registerCall('register-look', () => this.#redis.ferryRegisterLook(recordOf(r)), signal);
    const words = wordsOf(reply, 'register-look', ['none', 'undecided', 'committed', 'aborted']);
    return { decision: words[0], incarnation: words[1] ?? '' };
  }

  /** A domain has been started on that host: it owns the guest from now on. */
  async claim(domain: string, host: string, evidence: string, signal: AbortSignal): Promise<void> {
    const send = () => this.#redis.ferryOwnerClaim(ownerKeyOf(domain), host, evidence);
    wordsOf(await registerCall('owner-claim', send, signal), 'owner-claim', ['ok']);
  }

  /** Who owns a guest, since when, and on what evidence; undefined for one that nobody ever claimed. */
  async ownerOf(domain: string, signal: AbortSignal): Promise<Owner | undefined> {
    const reply = await registerCall('owner-look', () => this.#redis.ferryOwnerLook(ownerKeyOf(domain)), signal);
    const [word, host = '', epoch = '', evidence = '', sinceMs = ''] = wordsOf(reply, 'owner-look', ['none', 'owner']);
    return word === 'none' ? undefined : { host, epoch: Number(epoch), evidence, sinceMs: Number(sinceMs) };
  }

  async #ask<W extends string>(
    name: string,
    r: HandoverUnder,
    send: () => Promise<unknown>,
    known: readonly W[],
    signal: AbortSignal,
  ): Promise<W> {
    const reply = await registerCall(name, send, signal);
    const words = wordsOf<W | 'changed' | 'forgotten'>(reply, name, [...known, 'changed', 'forgotten']);
    const word = known.find((each) => each === words[0]);
    if (word !== undefined) return word;
    const why =
      words[0] === 'changed'
        ? `Redis ${words[1]} answers instead of ${r.incarnation}`
        : `Redis ${words[1]} has lost the migration's record`;
    const message = `${name} of migration ${r.migrationId} of domain ${r.domain} did nothing: ${why}`;
    throw new HandoverError('register-changed', `${message}, so it may have forgotten a decision; ask the other agent`);
  }
}

function recordOf(r: Handover): string {
  return `${tagOf(r.domain)}:handover:${r.migrationId}`;
}

function ownerKeyOf(domain: string): string {
  return `${tagOf(domain)}:owner`;
}

/** All keys of a domain carry its UUID as hash tag, so that one script may touch them all. */
function tagOf(domain: string): string {
  // The edge refuses other texts; here a brace in one would move the keys to another domain's slot.
  assert.match(domain, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a domain is named by its lower-case UUID');
  return `ferry:{${domain}}`;
}
