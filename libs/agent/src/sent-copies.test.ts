import { expect, it } from '@jest/globals';
import { HandoverError } from '@ferry/handover';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import type { Held } from './held.ts';
import type { Parts } from './parts.ts';
import { newSentCopy, type SentCopy, settleOwner, startedElsewhere } from './sent-copies.ts';

const start = { migrationId: 'm-1', domainUuid: 'd', domainName: 'web-1', side: 'source', protocol: 3 } as const;

/** A source that has resumed its copy while Redis did not answer. */
function world(answers: (HandoverError | undefined)[]) {
  const state = { ...newSentCopy('r'), claimDue: true };
  const held = { ongoing: { start, outcome: Outcome.OUTCOME_FAILED }, state } as unknown as Held<SentCopy>;
  const claimDecided = async (): Promise<void> => {
    const error = answers.shift();
    if (error !== undefined) throw error;
  };
  const parts = { config: { host: { name: 'a' } }, log: { warn: () => undefined }, owners: { claimDecided } };
  return { parts: parts as unknown as Parts, held };
}

it('does not end a migration before the claim that was due has been recorded', async () => {
  const { parts, held } = world([new HandoverError('register-unavailable', 'Redis did not answer'), undefined]);
  await expect(settleOwner(parts, held)).rejects.toMatchObject({ kind: 'register-unavailable' });
  expect(held.state.claimDue).toBe(true);
  await settleOwner(parts, held);
  expect(held.state.claimDue).toBe(false);
});

it('ends a migration whose guest the record gives to another host: that is reported by each look', async () => {
  const { parts, held } = world([new HandoverError('owned-elsewhere', 'domain web-1 belongs to host c')]);
  await settleOwner(parts, held);
  expect(held.state.claimDue).toBe(false);
});

it.each([
  ['started', 'start', 'started by a call', 'owned-elsewhere'],
  ['continued by another migration', 'decided', 'decided by migration other', 'owned-elsewhere'],
  ['continued by this migration', 'decided', 'decided by migration m-1', undefined],
] as const)('a guest %s on the destination since the migration began', async (_what, how, evidence, kind) => {
  const { parts, held } = world([]);
  Object.assign(held.state, { peerHost: 'b', owner: { epoch: 1, sinceMs: 10 } });
  const record = { host: 'b', epoch: 2, sinceMs: 20, doubt: '', incarnation: 'i', how, evidence };
  const redis = { owners: { of: async () => record }, register: { incarnation: async () => 'i' } };
  const found = await startedElsewhere(Object.assign(parts, redis), held, new AbortController().signal);
  expect(found?.kind).toBe(kind);
});
