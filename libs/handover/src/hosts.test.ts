import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { HostNames } from './index.ts';

const never = new AbortController().signal;
const [one, other] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'];

let server: PrivateRedis;
let names: HostNames;
beforeEach(async () => {
  server = await startRedis();
  names = new HostNames(server.client());
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const register = (name: string, uuid: string, how: 'ask' | 'take' = 'ask') =>
  names.register({ name, uuid }, how, never);
/** Nobody has been heard of for a while. */
const silence = async () => {
  const redis = server.client();
  await redis.del(...(await redis.keys('ferry:host*:alive')));
};

it('is the host’s that registered it, as often as it says so, and no other living one’s', async () => {
  for (let times = 0; times < 2; times += 1) expect(await register('a', one)).toEqual({ answer: 'ok', by: '' });
  for (const how of ['ask', 'take'] as const)
    expect(await register('a', other, how)).toEqual({ answer: 'taken', by: one });
  expect(await register('b', other)).toEqual({ answer: 'ok', by: '' });
});

it('is one of a UUID: a clone that is alive under another name is refused', async () => {
  await register('a', one);
  for (const how of ['ask', 'take'] as const)
    expect(await register('b', one, how)).toEqual({ answer: 'cloned', by: 'a' });
});

it('is asked for where its host is not alive, and then taken', async () => {
  await register('a', one);
  await silence();
  expect(await register('a', other)).toEqual({ answer: 'left', by: one });
  expect(await register('a', other, 'take')).toEqual({ answer: 'ok', by: '' });
  await silence();
  expect(await register('b', other)).toEqual({ answer: 'renamed', by: 'a' });
  expect(await register('b', other, 'take')).toEqual({ answer: 'ok', by: '' });
});

it('keeps what was under the old name of a renamed host under its new one, and nothing of another host’s', async () => {
  const redis = server.client();
  const at = `ferry:{${randomUUID()}}`;
  const id = randomUUID();
  await redis.hset(`${at}:owner`, { host: 'old', epoch: '3' });
  await redis.hset(`${at}:handover:${id}`, { sourceHost: 'x', destHost: 'old' });
  await redis.hset(`${at}:job:old`, { migration: id, owner: 'dest-agent@old' });
  await redis.hset(`${at}:job:x`, { migration: id, owner: 'source-agent@x' });
  await redis.set(`${at}:lease:old`, 'token', 'PX', 60_000);
  await redis.hset(`${at}:migration:${id}:old`, { owner: 'dest-agent@old' });
  await redis.hset(`${at}:migration:${id}:x`, { owner: 'source-agent@x' });
  for (let times = 0; times < 2; times += 1) await names.rename('old', 'new', never);
  expect(await redis.hgetall(`${at}:owner`)).toEqual({ host: 'new', epoch: '3' });
  expect(await redis.hgetall(`${at}:handover:${id}`)).toEqual({ sourceHost: 'x', destHost: 'new' });
  expect(await redis.hget(`${at}:job:new`, 'owner')).toBe('dest-agent@new');
  expect(await redis.hget(`${at}:job:x`, 'owner')).toBe('source-agent@x');
  expect(await redis.pttl(`${at}:lease:new`)).toBeGreaterThan(0);
  expect(await redis.hget(`${at}:migration:${id}:new`, 'owner')).toBe('dest-agent@new');
  expect(await redis.hget(`${at}:migration:${id}:x`, 'owner')).toBe('source-agent@x');
  expect(await redis.keys('*:old')).toEqual([]);
});

describe('a host that is gone for good', () => {
  const at = `ferry:{${randomUUID()}}`;
  const id = randomUUID();
  const forget = () => names.forget('a', never);

  it('is forgotten with its name, its UUID and its jobs; what is another host’s stays', async () => {
    const redis = server.client();
    await register('a', one);
    await register('x', other);
    for (const host of ['a', 'x']) {
      await redis.hset(`${at}:job:${host}`, { migration: id, owner: `source-agent@${host}` });
      await redis.hset(`${at}:migration:${id}:${host}`, { phase: 'perform3' });
    }
    await redis.del('ferry:host:a:alive', `ferry:host-uuid:${one}:alive`);
    expect(await forget()).toBe(one);
    expect(await redis.keys('*:job:*')).toEqual([`${at}:job:x`]);
    expect(await redis.keys('ferry:host:*')).not.toContain('ferry:host:a');
    expect(await redis.get(`ferry:host-uuid:${one}`)).toBeNull();
    expect(await redis.ttl(`${at}:migration:${id}:a`)).toBeGreaterThan(0);
    expect(await redis.ttl(`${at}:migration:${id}:x`)).toBe(-1);
    expect(await register('a', other, 'take')).toEqual({ answer: 'cloned', by: 'x' });
    expect(await register('a', randomUUID())).toEqual({ answer: 'ok', by: '' });
  });

  it('is not, while its agents are alive or hold leases', async () => {
    const redis = server.client();
    await register('a', one);
    await expect(forget()).rejects.toMatchObject({ kind: 'host-alive', message: expect.stringContaining('serve') });
    await silence();
    for (const kind of ['lease', 'short']) {
      await redis.set(`${at}:${kind}:a`, 'token', 'PX', 60_000);
      const message = expect.stringContaining(`${at}:${kind}:a`);
      await expect(forget()).rejects.toMatchObject({ kind: 'host-alive', message });
      await redis.del(`${at}:${kind}:a`);
    }
    expect(await forget()).toBe(one);
  });

  it.each(['a', '', '*', 'x]'])('is not known if it never registered: %j', async (name) => {
    await expect(names.forget(name, never)).rejects.toMatchObject({ kind: 'host-unknown' });
  });

  it('that was renamed keeps its UUID under its new name', async () => {
    await register('a', one);
    await silence();
    await register('b', one, 'take');
    expect(await forget()).toBe(one);
    expect(await server.client().get(`ferry:host-uuid:${one}`)).toBe('b');
  });
});
