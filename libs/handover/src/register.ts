import { tagOf } from '@ferry/redis';
import type { Redis, Result } from 'ioredis';
import { HandoverError } from './errors.ts';
import { ownerKeyOf } from './keys.ts';
import { registerCall, wordsOf } from './register-call.ts';
import { scriptText } from './scripts.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    ferryRegisterIncarnation(): Result<unknown, Context>;
    ferryRegisterBegin(record: string, owner: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterRenew(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterVote(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterCommit(record: string, owner: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterAbort(record: string, owner: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterBind(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterWithdraw(record: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterGiveBack(record: string, owner: string, ...args: string[]): Result<unknown, Context>;
    ferryRegisterLook(record: string): Result<unknown, Context>;
  }
}

/** Each script's command and how many keys it takes. */
const scripts = {
  'register-incarnation': ['ferryRegisterIncarnation', 0],
  'register-begin': ['ferryRegisterBegin', 2],
  'register-renew': ['ferryRegisterRenew', 1],
  'register-vote': ['ferryRegisterVote', 1],
  'register-commit': ['ferryRegisterCommit', 2],
  'register-abort': ['ferryRegisterAbort', 2],
  'register-bind': ['ferryRegisterBind', 1],
  'register-withdraw': ['ferryRegisterWithdraw', 1],
  'register-give-back': ['ferryRegisterGiveBack', 2],
  'register-look': ['ferryRegisterLook', 1],
} as const;

const day = 24 * 60 * 60;
/** A record that is asked for after this is missing, which is answered as "register-changed": late, but never wrong. Seconds. */
const undecidedSeconds = String(30 * day);
/** As long as everything else of a migration that has ended: job records and journals. */
const decidedSeconds = String(7 * day);

/** One handover. */
export interface Handover {
  /** UUID. */
  readonly domain: string;
  readonly migrationId: string;
}

/** A handover in the one life of Redis, and the one run of its id, that the caller means. */
export interface HandoverUnder extends Handover {
  readonly incarnation: string;
  /** The run's nonce, made with its record: an id that is used again has another one. */
  readonly run: string;
}

/** Where the two agents of a handover are reached, HOST:PORT; "" for one that the record does not know yet. */
export interface Addresses {
  readonly source: string;
  readonly dest: string;
}

export interface RegisterOptions {
  readonly redis: Redis;
  /** This host, which of its agents this is, and where the other one reaches it: HOST:PORT. */
  readonly host: string;
  readonly side: 'source' | 'dest';
  readonly address: string;
}

export type Decision = 'committed' | 'aborted';

/** Whether the guest's CPUs ran until they were stopped for the switchover. */
export interface GuestRan {
  readonly ran: boolean;
}

/** What the register has decided. A destination that is told 'committed' holds the grant, another one each time; else it is "". */
export interface Verdict {
  readonly decision: Decision;
  readonly grant: string;
  /** What the source's vote says of the guest; undefined where the answer does not carry it. */
  readonly ran: boolean | undefined;
}

const decisions = ['committed', 'aborted'] as const;
const verdictOf = ([decision, grant = '', guest = '']: readonly [Decision, ...string[]]): Verdict => ({
  decision,
  grant,
  ran: guest === '' ? undefined : guest === 'ran',
});
const evidenceOf = ({ migrationId, incarnation }: HandoverUnder): string =>
  `migration ${migrationId} committed under ${incarnation}`;
const guestWord = ({ ran }: GuestRan): string => (ran ? 'ran' : 'paused');

/**
 * The register that holds the handover decision: R of spec/handover.pml, one script for each of its steps.
 *
 * Every script that votes or decides does nothing in another life of Redis than the one meant, and in one where the record that
 * `begin` made is missing, is of another run of the id, or has another destination than this one: HandoverError register-changed. All throw register-unavailable when Redis cannot be asked; then
 * nobody knows whether the script has run.
 */
export class HandoverRegister {
  readonly #redis: Redis;
  readonly #host: string;
  readonly #me: readonly [side: string, host: string, address: string];

  constructor({ redis, host, side, address }: RegisterOptions) {
    this.#redis = redis;
    this.#host = host;
    this.#me = [side, host, address];
    for (const [file, [command, numberOfKeys]] of Object.entries(scripts)) {
      this.#redis.defineCommand(command, { numberOfKeys, lua: scriptText(file) });
    }
  }

  /** Which incarnation of Redis answers now: RUN_ID:MASTER_REPLID. */
  async incarnation(signal: AbortSignal): Promise<string> {
    const name = 'register-incarnation';
    const reply = await registerCall(name, () => this.#redis.ferryRegisterIncarnation(), signal);
    return wordsOf(reply, name, ['alive'])[1] ?? '';
  }

  /**
   * Makes the record, or adds this side to it; repeating it changes nothing. Throws HandoverError prepared-elsewhere for a second
   * destination host, migration-id-used for a record with a vote or a decision, or of another run. Call it before this side journals a vote or
   * a commit, never after: it would bring back a record that Redis has forgotten, and hide that it has.
   */
  begin(r: HandoverUnder, signal: AbortSignal): Promise<Addresses> {
    return this.#begin(r, 'make', signal);
  }

  /** Adds this side to the record that the other one has made; one that has been forgotten since is not made again. */
  join(r: HandoverUnder, signal: AbortSignal): Promise<Addresses> {
    return this.#begin(r, 'join', signal);
  }

  async #begin(r: HandoverUnder, how: 'make' | 'join', signal: AbortSignal): Promise<Addresses> {
    const args = [r.incarnation, undecidedSeconds, ...this.#me, how, r.run];
    const send = () => this.#redis.ferryRegisterBegin(recordOf(r), ownerKeyOf(r.domain), ...args);
    const [word, ...rest] = await this.#askAll(
      'register-begin',
      r,
      send,
      ['ok', 'prepared-elsewhere', 'migration-id-used'],
      signal,
    );
    if (word === 'prepared-elsewhere') {
      const message = `migration ${r.migrationId} of domain ${r.domain} has host ${rest[0]} as its destination`;
      const next = `a migration has one: ${this.#host} does not join it; choose a fresh migration id for another destination`;
      throw new HandoverError('prepared-elsewhere', `${message}, and ${next}`);
    }
    if (word === 'migration-id-used') {
      const was = { begun: 'begun', '': 'voted for' }[rest[0] ?? ''] ?? `decided (${rest[0]})`;
      const message = `migration ${r.migrationId} of domain ${r.domain} was ${was} before, as Redis has recorded`;
      throw new HandoverError('migration-id-used', `${message}: choose a fresh migration id`);
    }
    return addressesOf([word, ...rest]);
  }

  /** Whether the record is still there, in the life of Redis that is meant; makes none. */
  async renew(r: HandoverUnder, signal: AbortSignal): Promise<Addresses> {
    const send = () => this.#redis.ferryRegisterRenew(recordOf(r), r.incarnation, undecidedSeconds, r.run);
    return addressesOf(await this.#askAll('register-renew', r, send, ['ok'], signal));
  }

  /** The source's vote. Answers what has been decided under this incarnation already. */
  async vote(r: HandoverUnder & GuestRan, signal: AbortSignal): Promise<'undecided' | Decision> {
    const send = () => this.#redis.ferryRegisterVote(recordOf(r), r.incarnation, undecidedSeconds, guestWord(r), r.run);
    return this.#ask('register-vote', r, send, ['undecided', 'committed', 'aborted'], signal);
  }

  /**
   * The destination's wish to run the guest. With `carried` (the source's vote under this incarnation, from its cookie) the
   * vote is written in the same step; without, it must be there. A commit makes this host the owner. A guest that is not the source's any more as it was at its `begin` is not committed: "aborted".
   *
   * Throws HandoverError vote-missing.
   */
  async commit(r: HandoverUnder & { readonly carried: GuestRan | undefined }, signal: AbortSignal): Promise<Verdict> {
    const [vote, guest] = r.carried === undefined ? ['recorded', ''] : ['carried', guestWord(r.carried)];
    const args = [r.incarnation, decidedSeconds, vote, this.#host, evidenceOf(r), guest, r.migrationId, r.run];
    const send = () => this.#redis.ferryRegisterCommit(recordOf(r), ownerKeyOf(r.domain), ...args);
    const [word, ...rest] = await this.#askAll('register-commit', r, send, [...decisions, 'vote-missing'], signal);
    if (word === 'vote-missing') {
      const message = `the source has not voted for migration ${r.migrationId} of domain ${r.domain} under ${r.incarnation}`;
      throw new HandoverError('vote-missing', `${message}: ${this.#host} must not start the guest`);
    }
    return verdictOf([word, ...rest]);
  }

  /** Either side's wish that the source keeps the guest; one that is bound has none to keep, and is told 'committed'. A source that is told 'committed' ends its copy: the commit cannot be withdrawn then. */
  async abort(r: HandoverUnder, signal: AbortSignal): Promise<Verdict> {
    const args = [r.incarnation, decidedSeconds, this.#me[0], this.#host, evidenceOf(r), r.migrationId, r.run];
    const send = () => this.#redis.ferryRegisterAbort(recordOf(r), ownerKeyOf(r.domain), ...args);
    return verdictOf(await this.#askAll('register-abort', r, send, decisions, signal));
  }

  /**
   * For a source that has voted, and whose QEMU has ended: a commit, also one that is still to come, cannot be withdrawn, and whoever asks for an
   * abort where nothing is decided is told 'committed'. The vote is recorded with it.
   */
  async bind(r: HandoverUnder & GuestRan, signal: AbortSignal): Promise<void> {
    const send = () => this.#redis.ferryRegisterBind(recordOf(r), r.incarnation, undecidedSeconds, guestWord(r), r.run);
    await this.#ask('register-bind', r, send, ['ok'], signal);
  }

  /**
   * For a destination whose QEMU has refused to start the guest: takes the commit back, unless the source goes by it. Whoever has called this must not
   * try to start the guest again before it is told 'committed' anew, with a grant of its own.
   */
  async withdraw(r: HandoverUnder & { grant: string }, signal: AbortSignal): Promise<Verdict> {
    const send = () =>
      this.#redis.ferryRegisterWithdraw(recordOf(r), r.incarnation, decidedSeconds, r.grant, this.#host, r.run);
    return verdictOf(await this.#askAll('register-withdraw', r, send, decisions, signal));
  }

  /**
   * For a destination whose commit was, or may have been, granted, and which must not act on it: it has promised, or the source has said
   * "aborted". The guest is the source's again, so that this host may not start it. To be called before the destination's job ends.
   */
  async giveBack(r: HandoverUnder, signal: AbortSignal): Promise<void> {
    const args = [r.incarnation, this.#host, `migration ${r.migrationId} given back`, r.run];
    const send = () => this.#redis.ferryRegisterGiveBack(recordOf(r), ownerKeyOf(r.domain), ...args);
    await this.#ask('register-give-back', r, send, ['ok'], signal);
  }

  /**
   * What the register knows, without deciding anything, and the incarnation that the vote is for ("" for none). A vote for another
   * life of Redis than the one that answers is void: "none"; so is what is recorded of another run, if one is meant. Gives the
   * run too, undefined where there is no record.
   */
  async look(
    r: Handover & { readonly run?: string },
    signal: AbortSignal,
  ): Promise<{ decision: 'none' | 'undecided' | Decision; incarnation: string; run: string | undefined }> {
    const reply = await registerCall('register-look', () => this.#redis.ferryRegisterLook(recordOf(r)), signal);
    const words = wordsOf(reply, 'register-look', ['none', 'undecided', 'committed', 'aborted']);
    const [decision, incarnation = '', run] = words;
    const isAnother = r.run !== undefined && r.run !== run;
    return { decision: isAnother ? 'none' : decision, incarnation, run };
  }

  async #ask<W extends string>(
    name: string,
    r: HandoverUnder,
    send: () => Promise<unknown>,
    known: readonly W[],
    signal: AbortSignal,
  ): Promise<W> {
    return (await this.#askAll(name, r, send, known, signal))[0];
  }

  async #askAll<W extends string>(
    name: string,
    r: HandoverUnder,
    send: () => Promise<unknown>,
    known: readonly W[],
    signal: AbortSignal,
  ): Promise<[W, ...string[]]> {
    const reply = await registerCall(name, send, signal);
    const words = wordsOf<W | 'changed' | 'forgotten'>(reply, name, [...known, 'changed', 'forgotten']);
    const [first, ...rest] = words;
    const word = known.find((each) => each === first);
    if (word !== undefined) return [word, ...rest];
    const why =
      words[0] === 'changed'
        ? `Redis ${words[1]} answers instead of ${r.incarnation}`
        : `Redis ${words[1]} has lost the migration’s record, or has one of another run of the id`;
    const message = `${name} of migration ${r.migrationId} of domain ${r.domain} did nothing: ${why}`;
    throw new HandoverError('register-changed', `${message}, so it may have forgotten a decision; ask the other agent`);
  }
}

const addressesOf = ([, source = '', dest = '']: readonly string[]): Addresses => ({ source, dest });

function recordOf(r: Handover): string {
  return `${tagOf(r.domain)}:handover:${r.migrationId}`;
}
