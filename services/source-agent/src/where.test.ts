import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { openLog } from '@ferry/agent';
import { OwnerRecords } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import type { SourceAgent } from './agent.ts';
import { forget } from './where.ts';

const never = new AbortController().signal;

let server: PrivateRedis;
let owners: OwnerRecords;
const domain = randomUUID();
beforeEach(async () => {
  server = await startRedis();
  owners = new OwnerRecords({ redis: server.client(), host: 'a' });
  await owners.claim({ uuid: domain, name: 'web-1' }, 'start', 'started here', never);
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

/** Host a is asked to forget its own guest; `error` is what looking for that on the host gives. */
const forgetOwn = (error: Error) => {
  const find = async (): Promise<never> => {
    throw error;
  };
  const hypervisor = { find };
  const agent = { config: { host: { name: 'a' } }, hypervisor, owners, log: openLog('silent') };
  return forget(agent as unknown as SourceAgent, { domain, host: 'a' }, never);
};

it('forgets a guest of this host that is not on it', async () => {
  expect((await forgetOwn(new HypervisorError('domain-not-found', 'no such domain'))).host).toBe('');
});

it('keeps a guest whose directory cannot be read: it may be on this host', async () => {
  const unreadable = new HypervisorError('state-unreadable', 'domain.xml cannot be read');
  await expect(forgetOwn(unreadable)).rejects.toBe(unreadable);
  expect((await owners.of(domain, never))?.host).toBe('a');
});
