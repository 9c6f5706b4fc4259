/** The real scripts in real Redis, in random order, against the rules of spec/handover.pml and spec/owner.pml; `SEED=N` repeats a run. */
import { randomInt, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import * as fc from 'fast-check';
import { type Claim, HandoverError, HandoverRegister, type Owner, OwnerRecords } from './index.ts';

const never = new AbortController().signal;
const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31));

interface OwnerState {
  host: string;
  epoch: number;
  incarnation: string;
  sinceMs: number;
  /** It is asserted for the migration. */
  doubt: boolean;
}

/** What one life of Redis, `k`, holds of one guest and one migration of it from a to b; its methods are the models' inlines. */
class Model {
  readonly k: string;
  exists = false;
  /** The nonce of the run that the record is of, and of the one that whoever asks means. */
  run = '';
  meant = '';
  decision = 'none';
  vote = '';
  addresses = { source: '', dest: '' };
  noted: number | undefined;
  granted: number | undefined;
  grant = 0;
  binding = false;
  owner: OwnerState = { host: '', epoch: 0, incarnation: '', sinceMs: 0, doubt: false };

  constructor(k: string) {
    this.k = k;
  }

  /** What a replica has of another life's data. */
  take(from: Model): void {
    const { exists, run, decision, vote, addresses, noted, granted, grant, binding, owner } = from;
    Object.assign(this, {
      exists,
      run,
      decision,
      vote,
      noted,
      granted,
      grant,
      binding,
      addresses: { ...addresses },
      owner: { ...owner },
    });
  }

  begin(i: string, side: 'source' | 'dest'): unknown {
    if (this.k !== i) return 'register-changed';
    if (this.decision !== 'none' || this.vote !== '') return 'migration-id-used';
    if (this.exists && this.run !== this.meant) return 'migration-id-used';
    this.exists = true;
    this.run = this.meant;
    this.addresses[side] = side === 'source' ? 'a:1' : 'b:1';
    if (side === 'source') {
      if (this.owner.host === '') this.#give('a');
      this.noted ??= this.owner.epoch;
    }
    return { ...this.addresses };
  }

  renew(i: string): unknown {
    return this.#gone(i) ? 'register-changed' : { ...this.addresses };
  }

  voteIn(i: string): string {
    if (this.#gone(i)) return 'register-changed';
    const answer = this.vote === i && this.decision !== 'none' ? this.decision : 'undecided';
    [this.decision, this.vote] = [answer, i];
    return answer;
  }

  decide(i: string, wish: 'committed' | 'aborted', side: 'source' | 'dest'): string {
    if (this.#gone(i) || (side === 'dest' && this.addresses.dest === '')) return 'register-changed';
    if (wish === 'committed' && this.vote !== i) return 'vote-missing';
    const decided = this.vote === i && this.decision !== 'undecided' && this.decision !== 'none';
    const answer = decided ? this.decision : wish === 'committed' && this.#moved() ? 'aborted' : wish;
    [this.decision, this.vote] = [answer, i];
    if (!decided && answer === 'committed') {
      this.#give('b');
      this.granted = this.owner.epoch;
    }
    return answer;
  }

  /** What D is told; the grant counts as well. */
  #granted(answer: string): unknown {
    if (answer === 'committed') return { decision: answer, grant: String((this.grant += 1)), ran: true };
    return answer === 'aborted' ? { decision: answer, grant: '' } : answer;
  }

  commit(i: string): unknown {
    return this.#granted(this.decide(i, 'committed', 'dest'));
  }

  /** The source's own late vote, and then the commit. */
  commitCarried(i: string): unknown {
    if (this.addresses.dest === '') return 'register-changed';
    this.voteIn(i);
    return this.commit(i);
  }

  /** A source that is bound has no copy to keep. */
  #abortWish(i: string): 'committed' | 'aborted' {
    return this.binding && this.vote === i && this.addresses.dest !== '' ? 'committed' : 'aborted';
  }

  abortByD(i: string): unknown {
    return this.#granted(this.decide(i, this.#abortWish(i), 'dest'));
  }

  abortByS(i: string): unknown {
    const answer = this.decide(i, this.#abortWish(i), 'source');
    this.binding ||= answer === 'committed';
    if (answer === 'register-changed') return answer;
    return { decision: answer, grant: '', ...(answer === 'committed' ? { ran: true } : {}) };
  }

  bind(i: string): unknown {
    if (this.#gone(i)) return 'register-changed';
    const decision = this.vote === i && this.decision !== 'none' ? this.decision : 'undecided';
    if (decision === 'aborted') return undefined;
    [this.decision, this.vote, this.binding] = [decision, i, true];
    return undefined;
  }

  withdraw(i: string, grant: string): unknown {
    if (this.#gone(i) || this.addresses.dest === '') return 'register-changed';
    const committed = this.vote === i && this.decision === 'committed';
    if (committed && !this.binding && grant === String(this.grant)) this.decision = 'aborted';
    const answer = this.decide(i, 'aborted', 'dest');
    return answer === 'committed'
      ? { decision: answer, grant: String(this.grant), ran: true }
      : { decision: answer, grant: '' };
  }

  giveBack(i: string): unknown {
    if (this.#gone(i) || this.addresses.dest === '') return 'register-changed';
    const granted = this.granted === this.owner.epoch && this.owner.host === 'b';
    if (granted && this.addresses.source !== '') this.#give('a');
    return undefined;
  }

  claim(host: string, kind: Claim): unknown {
    const { owner } = this;
    const behind = kind === 'seen' && (owner.incarnation !== this.k || owner.doubt);
    const mine = owner.host === host && !(owner.doubt && kind === 'start');
    if (owner.host !== '' && !mine && !behind) return 'owned-elsewhere';
    if (owner.host === host && kind !== 'start') Object.assign(owner, { incarnation: this.k, doubt: false });
    else this.#give(host);
    return 'ok';
  }

  /** Of a or b, whose migration it is. */
  claimDecided(host: string): unknown {
    if (this.owner.host === 'c') return 'owned-elsewhere';
    if (this.owner.host === host) Object.assign(this.owner, { incarnation: this.k, doubt: false });
    else this.#give(host);
    return 'ok';
  }

  settle(host: string): void {
    const { owner } = this;
    if (!owner.doubt) return;
    owner.doubt = false;
    if (owner.host !== host) Object.assign(owner, { host, epoch: owner.epoch + 1, sinceMs: 0 });
  }

  assert(): boolean {
    const { host, epoch, incarnation, doubt } = this.owner;
    if (doubt) this.owner.incarnation = this.k;
    else if (host === '' && (epoch === 0 || incarnation !== this.k)) {
      this.#give('a');
      this.owner.doubt = true;
    }
    return this.owner.doubt;
  }

  release(seen: Owner): void {
    const { host, epoch, incarnation, sinceMs } = this.owner;
    const asSeen = seen.host === host && seen.epoch === epoch && seen.incarnation === incarnation;
    if (host !== '' && asSeen && seen.sinceMs === sinceMs)
      Object.assign(this.owner, { host: '', incarnation: this.k, doubt: false });
  }

  look(): { decision: string; incarnation: string; run: string | undefined } {
    const run = this.exists ? this.run : undefined;
    return { decision: this.vote === this.k ? this.decision : 'none', incarnation: this.vote, run };
  }

  #gone(i: string): boolean {
    return this.k !== i || !this.exists || this.run !== this.meant;
  }

  #give(host: string): void {
    this.owner = { host, epoch: this.owner.epoch + 1, incarnation: this.k, sinceMs: 0, doubt: false };
  }

  #moved(): boolean {
    const { host, epoch, doubt } = this.owner;
    const asItWas = host === 'a' && this.addresses.source !== '' && (epoch === this.noted || doubt);
    return epoch !== 0 && !asItWas && host !== 'b';
  }
}

/** One life of Redis and who talks to it. */
interface Life {
  readonly server: PrivateRedis;
  readonly redis: ReturnType<PrivateRedis['client']>;
  readonly source: HandoverRegister;
  readonly dest: HandoverRegister;
  readonly owners: Readonly<Record<string, OwnerRecords>>;
  readonly k: string;
}

/** The master that is cut off and goes on answering, and the replica that is made the master in its place. */
let cutOff: Life;
let promoted: Life;
beforeAll(async () => {
  [cutOff, promoted] = await Promise.all([live(), live()]);
});
afterAll(async () => {
  for (const { server } of [cutOff, promoted]) await server[Symbol.asyncDispose]();
});

async function live(): Promise<Life> {
  const server = await startRedis();
  const redis = server.client();
  const source = new HandoverRegister({ redis, host: 'a', side: 'source', address: 'a:1' });
  const dest = new HandoverRegister({ redis, host: 'b', side: 'dest', address: 'b:1' });
  const owners = Object.fromEntries(['a', 'b', 'c'].map((host) => [host, new OwnerRecords({ redis, host })]));
  return { server, redis, source, dest, owners, k: await source.incarnation(never) };
}

/** The kind of error, if it is one of ours. */
async function answerOf(asked: Promise<unknown>): Promise<unknown> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof HandoverError) return error.kind;
    throw error;
  }
}

const keysOf = (r: { domain: string; migrationId: string }): string[] => [
  `ferry:{${r.domain}}:owner`,
  `ferry:{${r.domain}}:handover:${r.migrationId}`,
];

const registerActs = [
  'begin',
  'prepare',
  'renew',
  'vote',
  'commit',
  'commit carried',
  'abort',
  'drop',
  'bind',
  'withdraw',
  'give back',
] as const;
const ownerActs = ['start', 'keep', 'seen', 'decided', 'assert', 'settle', 'read', 'release'] as const;
const accidents = ['replicate', 'fail over', 'flush'] as const;
const step = fc.record({
  act: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...registerActs) },
    { weight: 4, arbitrary: fc.constantFrom(...ownerActs) },
    { weight: 1, arbitrary: fc.constantFrom(...accidents) },
  ),
  host: fc.constantFrom('a', 'b', 'c'),
  /** Who asks reaches the cut-off master, which goes on answering; before a failover there is no other. */
  atOld: fc.boolean(),
  /** A withdrawal means an older grant by so many. */
  late: fc.constantFrom(0, 0, 1),
  /** Which life of Redis a script is meant for. */
  meant: fc.constantFrom('answering', 'answering', 'answering', 'old', 'new', 'another'),
  /** Which run of the id a script is of. */
  run: fc.constantFrom('this', 'this', 'this', 'this', 'this', 'another'),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** One guest, one migration of it, two lives of Redis: what was done to them, and what the model says of it. */
class Schedule {
  readonly #r = { domain: randomUUID(), migrationId: randomUUID() };
  readonly #models = new Map([cutOff, promoted].map((life) => [life, new Model(life.k)]));
  #failedOver = false;
  #replica: { readonly dumps: readonly (Buffer | null)[]; readonly model: Model } | undefined;
  #seen: Owner | undefined;

  async take({ act, host, atOld, late, meant, run }: Step): Promise<void> {
    const life = this.#failedOver && !atOld ? promoted : cutOff;
    const model = this.#modelOf(life);
    const i = { answering: life.k, old: cutOff.k, new: promoted.k, another: 'another' }[meant];
    const r = { ...this.#r, incarnation: i, run };
    model.meant = run;
    const asked = (real: Promise<unknown>, expected: unknown) => expect(answerOf(real)).resolves.toEqual(expected);
    switch (act) {
      case 'begin':
        await asked(life.source.begin(r, never), model.begin(i, 'source'));
        break;
      case 'prepare':
        await asked(life.dest.begin(r, never), model.begin(i, 'dest'));
        break;
      case 'renew':
        await asked(life.source.renew(r, never), model.renew(i));
        break;
      case 'vote':
        await asked(life.source.vote({ ...r, ran: true }, never), model.voteIn(i));
        break;
      case 'commit':
        await asked(life.dest.commit({ ...r, carried: undefined }, never), model.commit(i));
        break;
      case 'commit carried':
        await asked(life.dest.commit({ ...r, carried: { ran: true } }, never), model.commitCarried(i));
        break;
      case 'abort':
        await asked(life.source.abort(r, never), model.abortByS(i));
        break;
      case 'drop':
        await asked(life.dest.abort(r, never), model.abortByD(i));
        break;
      case 'bind':
        await asked(life.source.bind({ ...r, ran: true }, never), model.bind(i));
        break;
      case 'withdraw': {
        const grant = String(Math.max(0, model.grant - late));
        await asked(life.dest.withdraw({ ...r, grant }, never), model.withdraw(i, grant));
        break;
      }
      case 'give back':
        await asked(life.dest.giveBack(r, never), model.giveBack(i));
        break;
      case 'start':
      case 'keep':
      case 'seen': {
        const claim = this.#ownersOn(life, host).claim({ uuid: r.domain, name: 'web-1' }, act, act, never);
        await asked(
          claim.then(() => 'ok'),
          model.claim(host, act),
        );
        break;
      }
      case 'decided': {
        if (host === 'c') break;
        const by = { migrationId: r.migrationId, mayTake: (record: Owner) => record.host !== 'c' };
        const claim = this.#ownersOn(life, host).claimDecided({ uuid: r.domain, name: 'web-1' }, by, never);
        await asked(
          claim.then(() => 'ok'),
          model.claimDecided(host),
        );
        break;
      }
      case 'assert': {
        const by = { migrationId: r.migrationId, sourceHost: 'a' };
        await asked(this.#ownersOn(life, host).assert({ uuid: r.domain, name: 'web-1' }, by, never), model.assert());
        break;
      }
      case 'settle':
        if (host === 'c') break;
        await this.#ownersOn(life, host).settle(r.domain, r.migrationId, host, never);
        model.settle(host);
        break;
      case 'read':
        this.#seen = await this.#ownersOn(life, host).of(r.domain, never);
        break;
      case 'release':
        if (this.#seen === undefined) break;
        model.release(this.#seen);
        await this.#ownersOn(life, host).release(this.#seen, 'it has ended', never);
        break;
      case 'replicate':
        await this.#replicate();
        break;
      case 'fail over':
        await this.#failOver();
        break;
      case 'flush':
        await life.redis.del(...keysOf(r));
        model.take(new Model(life.k));
        break;
    }
    await this.#compare(life);
  }

  #modelOf(life: Life): Model {
    const model = this.#models.get(life);
    if (model === undefined) throw new Error('a life without a model');
    return model;
  }

  #ownersOn(life: Life, host: string): OwnerRecords {
    const owners = life.owners[host];
    if (owners === undefined) throw new Error(`no host ${host}`);
    return owners;
  }

  /** What the replica has; what is written after this is lost in a failover. */
  async #replicate(): Promise<void> {
    if (this.#failedOver) return;
    const model = new Model(promoted.k);
    model.take(this.#modelOf(cutOff));
    this.#replica = { dumps: await Promise.all(keysOf(this.#r).map((key) => cutOff.redis.dumpBuffer(key))), model };
  }

  async #failOver(): Promise<void> {
    if (this.#failedOver) return;
    this.#failedOver = true;
    for (const [n, key] of keysOf(this.#r).entries()) {
      const dump = this.#replica?.dumps[n];
      if (dump) await promoted.redis.restore(key, 0, dump, 'REPLACE');
    }
    if (this.#replica !== undefined) this.#modelOf(promoted).take(this.#replica.model);
  }

  /** When an epoch was given only the record knows; it is remembered, so that a late release can be told. */
  async #compare(life: Life): Promise<void> {
    const model = this.#modelOf(life);
    expect(await life.source.look(this.#r, never)).toEqual(model.look());
    const owner = await this.#ownersOn(life, 'c').of(this.#r.domain, never);
    if (owner === undefined) {
      expect(model.owner.epoch).toBe(0);
      return;
    }
    const { host, epoch, incarnation } = model.owner;
    const doubt = model.owner.doubt ? this.#r.migrationId : '';
    expect(owner).toMatchObject({ host, epoch, incarnation, doubt });
    if (model.owner.sinceMs !== 0 && host !== '') expect(owner.sinceMs).toBe(model.owner.sinceMs);
    model.owner.sinceMs = owner.sinceMs;
  }
}

describe('the register and the owner’s record', () => {
  it(`answer and remember as the checked models do, in any order, also where a cut-off master goes on answering (SEED=${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), async (steps) => {
        const schedule = new Schedule();
        for (const each of steps) await schedule.take(each);
      }),
      { seed, numRuns: 300 },
    );
  });

  it(`take a carried vote exactly as a late vote and then the commit (SEED=${seed})`, async () => {
    const { redis, source, dest, owners, k: incarnation } = cutOff;
    const before = fc.array(fc.constantFrom('vote', 'abort', 'older'), { maxLength: 4 });
    const made = async () => {
      const r = { domain: randomUUID(), migrationId: randomUUID(), incarnation, run: 'this' };
      await owners['a']?.claim({ uuid: r.domain, name: 'web-1' }, 'start', 'started', never);
      await source.begin(r, never);
      await dest.begin(r, never);
      return r;
    };
    await fc.assert(
      fc.asyncProperty(before, async (steps) => {
        const [one, two] = [await made(), await made()];
        for (const r of [one, two]) {
          for (const each of steps) {
            if (each === 'vote') await source.vote({ ...r, ran: true }, never);
            else if (each === 'abort') await source.abort(r, never);
            else await redis.hset(keysOf(r)[1] ?? '', 'vote', 'older', 'decision', 'committed');
          }
        }
        const inOne = await dest.commit({ ...one, carried: { ran: true } }, never);
        await source.vote({ ...two, ran: true }, never);
        expect(inOne).toEqual(await dest.commit({ ...two, carried: undefined }, never));
        expect(await dest.look(one, never)).toEqual(await dest.look(two, never));
        const [ofOne, ofTwo] = [await owners['a']?.of(one.domain, never), await owners['a']?.of(two.domain, never)];
        expect(ofOne).toMatchObject({ host: ofTwo?.host, epoch: ofTwo?.epoch });
      }),
      { seed },
    );
  });
});
