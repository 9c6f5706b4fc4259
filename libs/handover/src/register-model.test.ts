import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import * as fc from 'fast-check';
import { HandoverError, HandoverRegister, OwnerRecords } from './index.ts';

const never = new AbortController().signal;

/** spec/handover.pml's R: what one record holds, and its two inlines word for word. */
class Model {
  decision = 'none';
  vote = '';
  epoch = 1;
  owner = 'a';
  readonly #k: string;

  constructor(k: string) {
    this.#k = k;
  }

  voteIn(i: string): string {
    if (this.#k !== i) return 'register-changed';
    const answer = this.vote === i && this.decision !== 'none' ? this.decision : 'undecided';
    [this.decision, this.vote] = [answer, i];
    return answer;
  }

  decide(i: string, wish: 'committed' | 'aborted'): string {
    if (this.#k !== i) return 'register-changed';
    if (wish === 'committed' && this.vote !== i) return 'vote-missing';
    const decided = this.vote === i && this.decision !== 'undecided' && this.decision !== 'none';
    const answer = decided ? this.decision : wish;
    if (!decided && answer === 'committed') [this.epoch, this.owner] = [this.epoch + 1, 'b'];
    [this.decision, this.vote] = [answer, i];
    return answer;
  }

  /** The source's own late vote, and then the commit. */
  commitCarried(i: string): string {
    this.voteIn(i);
    return this.decide(i, 'committed');
  }

  look(): { decision: string; incarnation: string } {
    return { decision: this.vote === this.#k ? this.decision : 'none', incarnation: this.vote };
  }
}

const act = fc.constantFrom('vote', 'commit', 'commit carried', 'abort', 'begin', 'regress');
const step = fc.record({ act, stale: fc.integer({ min: 0, max: 5 }).map((n) => n === 0) });

let server: PrivateRedis;
let source: HandoverRegister;
let dest: HandoverRegister;
let owners: OwnerRecords;
beforeAll(async () => {
  server = await startRedis();
  source = new HandoverRegister({ redis: server.client(), host: 'a', side: 'source', address: 'a:1' });
  dest = new HandoverRegister({ redis: server.client(), host: 'b', side: 'dest', address: 'b:1' });
  owners = new OwnerRecords({ redis: server.client(), host: 'a' });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const answerOf = async (asked: Promise<string | void>) => {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof HandoverError) return error.kind;
    throw error;
  }
};

async function newHandover(): Promise<{ domain: string; migrationId: string }> {
  const r = { domain: randomUUID(), migrationId: randomUUID() };
  await owners.claim({ uuid: r.domain, name: 'web-1' }, 'start', 'started', never);
  await source.begin({ ...r, incarnation: await source.incarnation(never) }, never);
  return r;
}

describe('the register', () => {
  it('answers and remembers as the checked model does, in any order', async () => {
    const k = await source.incarnation(never);
    const redis = server.client();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 15 }), async (steps) => {
        const [handover, model] = [await newHandover(), new Model(k)];
        for (const each of steps) {
          const i = each.stale ? 'another' : k;
          const r = { ...handover, incarnation: i };
          switch (each.act) {
            case 'vote':
              expect(await answerOf(source.vote(r, never))).toBe(model.voteIn(i));
              break;
            case 'commit':
              expect(await answerOf(dest.commit({ ...r, voteCarried: false }, never))).toBe(
                model.decide(i, 'committed'),
              );
              break;
            case 'commit carried':
              expect(await answerOf(dest.commit({ ...r, voteCarried: true }, never))).toBe(model.commitCarried(i));
              break;
            case 'abort':
              expect(await answerOf(source.abort(r, never))).toBe(model.decide(i, 'aborted'));
              break;
            case 'begin':
              if (each.stale) expect(await answerOf(dest.begin(r, never).then(() => 'ok'))).toBe('register-changed');
              else expect(await dest.begin(r, never)).toMatchObject({ source: 'a:1', dest: 'b:1' });
              break;
            case 'regress':
              // What is recorded turns out to be from an older life of Redis.
              if (model.vote === '') break;
              await redis.hset(`ferry:{${handover.domain}}:handover:${handover.migrationId}`, 'vote', 'older');
              model.vote = 'older';
          }
          expect(await source.look(handover, never)).toEqual(model.look());
          expect(await owners.of(handover.domain, never)).toMatchObject({ host: model.owner, epoch: model.epoch });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('takes a carried vote exactly as a late vote and then the commit', async () => {
    const incarnation = await source.incarnation(never);
    const redis = server.client();
    const before = fc.array(fc.constantFrom('vote', 'abort', 'older'), { maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(before, async (steps) => {
        const [one, two] = [await newHandover(), await newHandover()];
        for (const handover of [one, two]) {
          const r = { ...handover, incarnation };
          for (const each of steps) {
            if (each === 'vote') await source.vote(r, never);
            else if (each === 'abort') await source.abort(r, never);
            else
              await redis.hset(
                `ferry:{${r.domain}}:handover:${r.migrationId}`,
                'vote',
                'older',
                'decision',
                'committed',
              );
          }
        }
        const inOne = await dest.commit({ ...one, incarnation, voteCarried: true }, never);
        await source.vote({ ...two, incarnation }, never);
        expect(inOne).toBe(await dest.commit({ ...two, incarnation, voteCarried: false }, never));
        expect(await dest.look(one, never)).toEqual(await dest.look(two, never));
        const [ofOne, ofTwo] = [await owners.of(one.domain, never), await owners.of(two.domain, never)];
        expect(ofOne).toMatchObject({ host: ofTwo?.host, epoch: ofTwo?.epoch });
      }),
    );
  });
});
