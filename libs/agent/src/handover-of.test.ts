import { randomUUID } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { HandoverRegister } from '@ferry/handover';
import { startRedis } from '@ferry/jobs/testing';
import { beginHandover } from './handover-of.ts';
import { newSentCopy } from './sent-copies.ts';

const never = new AbortController().signal;

it('begins under the incarnation that Redis has by then, where that has changed since the first look', async () => {
  await using server = await startRedis();
  const register = new HandoverRegister({ redis: server.client(), host: 'a', side: 'source', address: 'a:1' });
  const incarnation = await register.incarnation(never);
  const start = { migrationId: randomUUID(), domainUuid: randomUUID(), domainName: 'web-1' };
  const held = { ongoing: { start }, state: { ...newSentCopy('run-1'), incarnation } } as unknown as Parameters<
    typeof beginHandover
  >[1];
  await server.client().multi().replicaof('127.0.0.1', '1').replicaof('NO', 'ONE').exec();
  expect(await beginHandover(register, held, never)).toEqual({ source: 'a:1', dest: '' });
  expect(held.state.incarnation).not.toBe(incarnation);
  expect(held.state.incarnation).toBe(await register.incarnation(never));
});
