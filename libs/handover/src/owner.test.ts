import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { HandoverRegister, type Owner, OwnerRecords } from './index.ts';

const never = new AbortController().signal;
const uuid = randomUUID();
const guest = { uuid, name: 'web-1' };
const elsewhere = { kind: 'owned-elsewhere', message: expect.stringContaining('belongs to host a') };

let server: PrivateRedis;
let a: OwnerRecords;
let b: OwnerRecords;
beforeEach(async () => {
  server = await startRedis();
  a = new OwnerRecords({ redis: server.client(), host: 'a' });
  b = new OwnerRecords({ redis: server.client(), host: 'b' });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const started = () => a.claim(guest, 'start', 'started', never);

describe('a guest’s owner', () => {
  it('is nobody, then the host that claims it, then nobody again; the epoch only grows', async () => {
    expect(await a.of(uuid, never)).toBeUndefined();
    const owner = await started();
    expect(owner).toMatchObject({ domain: uuid, name: 'web-1', host: 'a', epoch: 1, evidence: 'started' });
    expect(Math.abs(owner.sinceMs - Date.now())).toBeLessThan(60_000);
    expect(await b.of(uuid, never)).toEqual(owner);

    expect(await a.release(owner, 'it has ended', never)).toMatchObject({
      host: '',
      epoch: 1,
      evidence: 'it has ended',
    });
    expect(await b.of(uuid, never)).toMatchObject({ name: 'web-1', host: '', epoch: 1, evidence: 'it has ended' });
    expect(await b.claim(guest, 'start', 'started', never)).toMatchObject({ host: 'b', epoch: 2 });
  });

  it('does not change by another host’s claim of whatever kind', async () => {
    const owner = await started();
    for (const claim of ['start', 'keep', 'seen'] as const)
      await expect(b.claim(guest, claim, 'mine', never)).rejects.toMatchObject(elsewhere);
    await expect(b.refuseForeign(guest, never)).rejects.toMatchObject(elsewhere);
    await a.refuseForeign(guest, never);
    expect(await b.of(uuid, never)).toEqual(owner);
  });

  it('is one of two that claim at once', async () => {
    const claims = [a, b].map((host) => host.claim(guest, 'start', 'started', never));
    const results = await Promise.allSettled(claims);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await a.of(uuid, never)).toMatchObject({ epoch: 1 });
  });

  it('stays as it is when the owner says again that it is, except for a guest that begins anew', async () => {
    const owner = await started();
    for (const claim of ['keep', 'seen'] as const) expect(await a.claim(guest, claim, 'again', never)).toEqual(owner);
    expect(await a.claim(guest, 'start', 'started again', never)).toMatchObject({
      epoch: 2,
      evidence: 'started again',
    });
  });

  it('is not released by whoever has seen an older epoch, or another owner', async () => {
    const old = await started();
    const now = await a.claim(guest, 'start', 'started', never);
    expect(await a.release(old, 'late', never)).toEqual(now);
    expect(await b.release({ ...now, host: 'b' }, 'not mine', never)).toEqual(now);
    expect(await a.of(uuid, never)).toEqual(now);
    expect(await a.release({ ...now, domain: randomUUID() }, 'unknown', never)).toBeUndefined();
  });

  it('is not released by whoever has seen what Redis has lost: the same epoch, given anew', async () => {
    const key = `ferry:{${uuid}}:owner`;
    const now = await started();
    expect(await a.release({ ...now, sinceMs: now.sinceMs - 1 }, 'late', never)).toEqual(now);
    expect(await a.release({ ...now, epoch: now.epoch - 1 }, 'late', never)).toEqual(now);
    // A claim that is lost, and one after it that only confirms what Redis has brought back.
    await server.client().hset(key, 'incarnation', 'older');
    const lost = await a.of(uuid, never);
    const confirmed = await a.claim(guest, 'seen', 'it runs here', never);
    expect(confirmed).toMatchObject({ host: 'a', epoch: 1 });
    expect(lost && (await a.release(lost, 'late', never))).toEqual(confirmed);
    expect(await a.of(uuid, never)).toEqual(confirmed);
  });

  it('of an older life of Redis is refused to those who start it, and given to the host that is seen running it', async () => {
    await started();
    const key = `ferry:{${uuid}}:owner`;
    const saved = await server.client().dumpBuffer(key);
    await server.restart();
    if (saved !== null) await server.client().restore(key, 0, saved);
    for (const claim of ['start', 'keep'] as const)
      await expect(b.claim(guest, claim, 'mine', never)).rejects.toMatchObject(elsewhere);
    expect(await b.claim(guest, 'seen', 'it runs here', never)).toMatchObject({ host: 'b', epoch: 2 });
    // From now on it is of this life.
    await expect(a.claim(guest, 'seen', 'it runs here', never)).rejects.toMatchObject({ kind: 'owned-elsewhere' });
  });

  it('is confirmed in the new life of Redis by being seen there', async () => {
    const owner = await started();
    const key = `ferry:{${uuid}}:owner`;
    await server.client().hset(key, 'incarnation', 'older');
    expect(await a.claim(guest, 'seen', 'it runs here', never)).toEqual(owner);
    await expect(b.claim(guest, 'seen', 'it runs here', never)).rejects.toMatchObject(elsewhere);
  });

  it('is kept for good; that nobody owns it, for a week', async () => {
    const redis = server.client();
    const key = `ferry:{${uuid}}:owner`;
    const owner = await started();
    expect(await redis.ttl(key)).toBe(-1);
    await a.release(owner, 'it has ended', never);
    const ttl = await redis.ttl(key);
    expect(ttl).toBeGreaterThan(6 * 24 * 60 * 60);
    await b.claim(guest, 'seen', 'it runs here', never);
    expect(await redis.ttl(key)).toBe(-1);
  });

  it('is found by a look at all records', async () => {
    const others = Array.from({ length: 30 }, () => ({ uuid: randomUUID(), name: 'web-1' }));
    for (const each of others) await b.claim(each, 'start', 'started', never);
    await started();
    const all: Owner[] = [];
    for await (const owner of a.all(never, () => undefined)) all.push(owner);
    expect(new Set(all.map(({ domain }) => domain))).toEqual(new Set([uuid, ...others.map((each) => each.uuid)]));
    expect(all.filter(({ host }) => host === 'a')).toMatchObject([{ domain: uuid }]);
  });
});

describe('a commit', () => {
  const migrationId = randomUUID();
  let incarnation: string;
  let register: HandoverRegister;
  const commit = () =>
    register.commit({ domain: uuid, migrationId, incarnation, run: 'r', carried: { ran: true } }, never);
  beforeEach(async () => {
    register = new HandoverRegister({ redis: server.client(), host: 'b', side: 'dest', address: 'b:1' });
    const source = new HandoverRegister({ redis: server.client(), host: 'a', side: 'source', address: 'a:1' });
    incarnation = await register.incarnation(never);
    await started();
    await source.begin({ domain: uuid, migrationId, incarnation, run: 'r' }, never);
    await register.begin({ domain: uuid, migrationId, incarnation, run: 'r' }, never);
  });

  it('keeps the name, and makes a released record one that stays', async () => {
    expect(await commit()).toMatchObject({ decision: 'committed' });
    expect(await a.of(uuid, never)).toMatchObject({ name: 'web-1', host: 'b', epoch: 2 });
    expect(await server.client().ttl(`ferry:{${uuid}}:owner`)).toBe(-1);
  });

  it('does not take a guest that somebody has given to another host since Begin, nor one that ran there meanwhile', async () => {
    const c = new OwnerRecords({ redis: server.client(), host: 'c' });
    const owner = await c.of(uuid, never);
    if (owner !== undefined) await c.release(owner, 'a is gone, somebody said', never);
    const atC = await c.claim(guest, 'start', 'started', never);
    await c.release(atC, 'it has ended', never);
    expect(await commit()).toMatchObject({ decision: 'aborted' });
    expect(await c.of(uuid, never)).toMatchObject({ host: '', epoch: 2 });
    expect(await register.look({ domain: uuid, migrationId }, never)).toMatchObject({ decision: 'aborted' });
  });

  it('does not take a guest that has ended on the source and was started there anew', async () => {
    await started();
    expect(await commit()).toMatchObject({ decision: 'aborted' });
    expect(await a.of(uuid, never)).toMatchObject({ host: 'a', epoch: 2 });
  });

  it('does not take it either where the source has told the register of itself again since', async () => {
    await started();
    const source = new HandoverRegister({ redis: server.client(), host: 'a', side: 'source', address: 'a:1' });
    await source.begin({ domain: uuid, migrationId, incarnation, run: 'r' }, never);
    expect(await commit()).toMatchObject({ decision: 'aborted' });
  });

  it('does not take a guest that was started anew where Redis had lost its owner when the source began', async () => {
    const another = { domain: uuid, migrationId: randomUUID(), incarnation, run: 'r' };
    await server.client().del(`ferry:{${uuid}}:owner`);
    const source = new HandoverRegister({ redis: server.client(), host: 'a', side: 'source', address: 'a:1' });
    await source.begin(another, never);
    await register.begin(another, never);
    await started();
    expect(await register.commit({ ...another, carried: { ran: true } }, never)).toMatchObject({ decision: 'aborted' });
  });

  it('that was granted and is not acted on gives the guest back to the source', async () => {
    expect(await commit()).toMatchObject({ decision: 'committed' });
    const r = { domain: uuid, migrationId, incarnation, run: 'r' };
    await register.giveBack(r, never);
    const owner = await a.of(uuid, never);
    expect(owner).toMatchObject({
      name: 'web-1',
      host: 'a',
      epoch: 3,
      evidence: `migration ${migrationId} given back`,
    });
    await register.giveBack(r, never);
    expect(await a.of(uuid, never)).toEqual(owner);
    await expect(register.giveBack({ ...r, incarnation: 'another' }, never)).rejects.toMatchObject({
      kind: 'register-changed',
    });
  });

  it('that was not granted, or was followed by another claim, gives nothing back', async () => {
    const r = { domain: uuid, migrationId, incarnation, run: 'r' };
    const before = await a.of(uuid, never);
    await register.giveBack(r, never);
    expect(await a.of(uuid, never)).toEqual(before);
    expect(await commit()).toMatchObject({ decision: 'committed' });
    const now = await b.claim(guest, 'start', 'started', never);
    await register.giveBack(r, never);
    expect(await a.of(uuid, never)).toEqual(now);
  });

  it('takes a guest that its source was seen running meanwhile, or of which Redis has no record', async () => {
    await a.claim(guest, 'seen', 'it runs here', never);
    await server.client().del(`ferry:{${uuid}}:owner`);
    expect(await commit()).toMatchObject({ decision: 'committed' });
    expect(await a.of(uuid, never)).toMatchObject({ host: 'b', epoch: 1 });
  });
});
