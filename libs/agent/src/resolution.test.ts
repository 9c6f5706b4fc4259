import { expect, it } from '@jest/globals';
import type { Decision, Owner } from '@ferry/handover';
import { Resolution } from '@ferry/proto/ferry/v1/migration';
import type { Held } from './held.ts';
import { Ongoing, OngoingMigrations } from './ongoing.ts';
import { resolveByWord } from './resolution.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'dest', protocol: 3 } as const;

it('does not let a copy go on that was promised away while the ownership record was being written', async () => {
  let promised = false;
  const released: string[] = [];
  const state: { decision: Decision | undefined; decidedByWord: boolean } = {
    decision: undefined,
    decidedByWord: false,
  };
  const ongoing = new OngoingMigrations();
  const held = { ongoing: ongoing.open(start), state } as unknown as Held<typeof state>;
  const claimed: Owner = { domain: 'd', name: '', host: 'b', epoch: 2, evidence: '', sinceMs: 0, incarnation: '' };
  const owners = {
    of: async () => undefined,
    claim: async () => {
      promised = true; // the source asks in this moment
      return claimed;
    },
    release: async (_owner: Owner, why: string) => void released.push(why),
  };
  const one = {
    side: 'dest',
    parts: { config: { host: { name: 'b' } }, owners, ongoing, log: { warn: () => undefined } },
    migrations: { find: () => held, resolve: (_held: unknown, decide: () => Promise<void>) => decide() },
    learn: () => Promise.reject(new Error('nobody answers')),
    cannotRun: async () => (promised ? 'it was promised away' : undefined),
    journal: async () => undefined,
  } as unknown as Parameters<typeof resolveByWord<typeof state>>[0];
  const request = { migrationId: 'm', domain: 'd', goneHost: 'a', resolution: Resolution.RESOLUTION_RUN_HERE };
  await expect(resolveByWord(one, request, never)).rejects.toMatchObject({ kind: 'resolution-disproved' });
  expect(state.decision).toBeUndefined();
  expect(released).toHaveLength(1);
  expect(ongoing.find('m')).toBeInstanceOf(Ongoing);
});

it('ends a copy that was promised away although the record says that it came over: neither word would settle it otherwise', async () => {
  const state: { decision: Decision | undefined; decidedByWord: boolean } = {
    decision: undefined,
    decidedByWord: false,
  };
  const ongoing = new OngoingMigrations();
  const held = { ongoing: ongoing.open(start), state } as unknown as Held<typeof state>;
  const owner: Owner = { domain: 'd', name: '', host: 'b', epoch: 2, evidence: '', sinceMs: 0, incarnation: '' };
  let why: string | undefined;
  const one = {
    side: 'dest',
    parts: {
      config: { host: { name: 'b' } },
      owners: { of: async () => owner },
      ongoing,
      log: { warn: () => undefined },
    },
    migrations: { find: () => held, resolve: (_held: unknown, decide: () => Promise<void>) => decide() },
    learn: () => Promise.reject(new Error('nobody answers')),
    cannotRun: async () => why,
    journal: async () => undefined,
  } as unknown as Parameters<typeof resolveByWord<typeof state>>[0];
  const request = { migrationId: 'm', domain: 'd', goneHost: 'a', resolution: Resolution.RESOLUTION_END_HERE };
  await expect(resolveByWord(one, request, never)).rejects.toMatchObject({ kind: 'resolution-disproved' });
  why = 'it was promised away';
  await resolveByWord(one, request, never);
  expect(state.decision).toBe('aborted');
});
