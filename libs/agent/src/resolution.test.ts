import { expect, it } from '@jest/globals';
import { type Decision, HandoverError, type Owner } from '@ferry/handover';
import { Resolution } from '@ferry/proto/ferry/v1/migration';
import type { Held } from './held.ts';
import { Ongoing, OngoingMigrations } from './ongoing.ts';
import { resolveByWord } from './resolution.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'dest', protocol: 3 } as const;

const owner: Owner = {
  domain: 'd',
  name: '',
  host: 'b',
  epoch: 2,
  evidence: '',
  sinceMs: 0,
  incarnation: '',
  doubt: '',
  how: '',
};

/** A migration in doubt at its destination, whose source does not answer; `why` says what keeps the copy from going on. */
function inDoubt(owners: object, why: () => string | undefined, cause = new Error('the source does not answer')) {
  const state: { decision: Decision | undefined; decidedByWord: boolean } = {
    decision: undefined,
    decidedByWord: false,
  };
  const ongoing = new OngoingMigrations();
  const held = { ongoing: ongoing.open(start), state } as unknown as Held<typeof state>;
  const one = {
    side: 'dest',
    parts: { config: { host: { name: 'b' } }, owners, ongoing, log: { warn: () => undefined } },
    migrations: { find: () => held, resolve: (_held: unknown, decide: () => Promise<void>) => decide() },
    learn: () => Promise.reject(cause),
    cannotRun: async () => why(),
    journal: async () => undefined,
  } as unknown as Parameters<typeof resolveByWord<typeof state>>[0];
  const resolve = (resolution: Resolution) =>
    resolveByWord(one, { migrationId: 'm', domain: 'd', goneHost: 'a', resolution }, never);
  return { state, ongoing, resolve };
}

it('does not let a copy go on that was promised away while the ownership record was being written', async () => {
  let promised = false;
  const released: string[] = [];
  const owners = {
    of: async () => undefined,
    claim: async () => {
      promised = true; // the source asks in this moment
      return owner;
    },
    release: async (_owner: Owner, why: string) => void released.push(why),
  };
  const { state, ongoing, resolve } = inDoubt(owners, () => (promised ? 'it was promised away' : undefined));
  const disproved = { kind: 'resolution-disproved' };
  await expect(resolve(Resolution.RESOLUTION_RUN_HERE)).rejects.toMatchObject(disproved);
  expect(state.decision).toBeUndefined();
  expect(released).toHaveLength(1);
  expect(ongoing.find('m')).toBeInstanceOf(Ongoing);
});

it('ends a copy that was promised away although the record says that it came over: neither word would settle it otherwise', async () => {
  let why: string | undefined;
  const { state, resolve } = inDoubt({ of: async () => owner }, () => why);
  const disproved = { kind: 'resolution-disproved' };
  await expect(resolve(Resolution.RESOLUTION_END_HERE)).rejects.toMatchObject(disproved);
  why = 'it was promised away';
  await resolve(Resolution.RESOLUTION_END_HERE);
  expect(state.decision).toBe('aborted');
});

it('refuses an operator override while the journal, which may contain the decision, cannot be read', async () => {
  const unreadable = new HandoverError('journal-unreadable', 'EIO');
  const { state, resolve } = inDoubt({ of: async () => undefined }, () => undefined, unreadable);
  for (const word of [Resolution.RESOLUTION_RUN_HERE, Resolution.RESOLUTION_END_HERE])
    await expect(resolve(word)).rejects.toBe(unreadable);
  expect(state.decision).toBeUndefined();
});
