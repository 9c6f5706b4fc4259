import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Clock, type JobKind, JobError, MigrationJobs, systemClock } from './index.ts';
import { type PrivateRedis, startRedis } from './testing/redis-server.ts';
import { VirtualClock } from './testing/virtual-clock.ts';

const phases = {
  begin3: { after: [] },
  perform3: { after: ['begin3'] },
  'perform3-done': { after: ['perform3'] },
  confirm3: { after: ['perform3-done'] },
  'confirm3-cancelled': { after: ['begin3', 'perform3', 'perform3-done'] },
  prepare: { after: [] },
  finish3: { after: ['prepare'] },
};

let server: PrivateRedis;
const never = new AbortController().signal;
const bytes = (text: string) => new TextEncoder().encode(text);
const kindOf = (error: unknown) => (error instanceof JobError ? error.kind : error);

function agent(kind: JobKind, more: { owner?: string; host?: string; clock?: Clock } = {}) {
  const owner = kind === 'MIGRATION_OUT' ? 'source-agent@a' : 'dest-agent@a';
  const usual = { redis: server.client(), host: 'a', owner, kind, leaseMs: 10_000, phases, clock: systemClock };
  return new MigrationJobs({ ...usual, ...more });
}

/** Starts a job and leaves it between two phases. */
async function begun(jobs: MigrationJobs, domain: string, migrationId = 'm', options: Record<string, string> = {}) {
  const job = await jobs.migrationJobStart({ domain, migrationId, options }, never);
  await jobs.migrationJobStartPhase(job, 'begin3', never);
  await jobs.migrationJobContinue(job, undefined, never);
  return job;
}

beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

describe('a migration job', () => {
  it('goes from Begin to Confirm by the helpers', async () => {
    using jobs = agent('MIGRATION_OUT');
    const [domain, migrationId] = [randomUUID(), randomUUID()];
    const beginning = await jobs.migrationJobStart({ domain, migrationId, options: { live: 'yes' } }, never);
    await jobs.migrationJobStartPhase(beginning, 'begin3', never);
    await jobs.migrationJobContinue(beginning, { phase: 'begin3', bytes: new Uint8Array([0, 255, 10]) }, never);

    const performing = jobs.migrationJobIsActive(domain, migrationId);
    await jobs.migrationJobStartPhase(performing, 'perform3', never);
    expect(await jobs.activeOf(domain, never)).toEqual({
      kind: 'MIGRATION_OUT',
      migrationId,
      phase: 'perform3',
      owner: 'source-agent@a',
      executing: true,
      leased: true,
    });
    await jobs.migrationJobSetPhase(performing, 'perform3-done', never);
    await jobs.migrationJobContinue(performing, undefined, never);

    const confirming = jobs.migrationJobIsActive(domain, migrationId);
    await jobs.migrationJobStartPhase(confirming, 'confirm3', never);
    const reply = { phase: 'confirm3', bytes: bytes('done') };
    await jobs.migrationJobFinish(confirming, { outcome: 'completed', record: { downtimeMs: '3' }, reply }, never);

    expect(await jobs.activeOf(domain, never)).toBeUndefined();
    expect(await jobs.replyOf(domain, migrationId, 'begin3', never)).toEqual(Buffer.from([0, 255, 10]));
    expect(await jobs.replyOf(domain, migrationId, 'perform3', never)).toBeUndefined();
    expect(await jobs.recordOf(domain, migrationId, never)).toMatchObject({
      kind: 'MIGRATION_OUT',
      domain,
      migrationId,
      phase: 'confirm3',
      outcome: 'completed',
      options: { live: 'yes' },
      record: { downtimeMs: '3' },
      replies: ['begin3', 'confirm3'],
    });
    expect(() => jobs.migrationJobIsActive(domain, migrationId)).toThrow(/is not being migrated away/);
  });

  it('outlives its end as a record for 7 days, and leaves nothing else', async () => {
    using jobs = agent('MIGRATION_OUT');
    const domain = randomUUID();
    const job = await begun(jobs, domain);
    await jobs.migrationJobFinish(job, { outcome: 'failed', record: {} }, never);
    const redis = server.client();
    const record = `ferry:{${domain}}:migration:m:a`;
    expect(await redis.keys(`ferry:{${domain}}:*`)).toEqual([record]);
    expect(await redis.ttl(record)).toBeGreaterThan(167 * 3600);
    expect(await redis.ttl(record)).toBeLessThanOrEqual(168 * 3600);
  });

  it('refuses a second migration at once, by either agent, and names the first', async () => {
    using out = agent('MIGRATION_OUT');
    using incoming = agent('MIGRATION_IN');
    const domain = randomUUID();
    await out.migrationJobStart({ domain, migrationId: 'first', options: {} }, never);
    for (const jobs of [out, incoming]) {
      const refused = jobs.migrationJobStart({ domain, migrationId: 'second', options: {} }, never);
      await expect(refused).rejects.toMatchObject({
        kind: 'already-migrating',
        message: expect.stringContaining('migration first'),
        holder: { migrationId: 'first', kind: 'MIGRATION_OUT', phase: 'none', owner: 'source-agent@a' },
      });
    }
    expect(() => out.migrationJobIsActive(domain, 'second')).toThrow(/held by migration first/);
    expect(() => incoming.migrationJobIsActive(domain, 'first')).toThrow(/is not being received/);
  });

  it('lets one of two calls at once start it', async () => {
    using jobs = agent('MIGRATION_OUT');
    const request = { domain: randomUUID(), migrationId: 'm', options: {} };
    const both = await Promise.allSettled([
      jobs.migrationJobStart(request, never),
      jobs.migrationJobStart(request, never),
    ]);
    expect(both.map((each) => each.status)).toEqual(['fulfilled', 'rejected']);
    expect(both.map((each) => (each.status === 'rejected' ? each.reason : undefined))[1]).toMatchObject({
      kind: 'already-migrating',
      holder: { migrationId: 'm' },
    });
  });

  it('tells two calls at once apart', async () => {
    using jobs = agent('MIGRATION_OUT');
    const domain = randomUUID();
    await begun(jobs, domain);
    const [one, two] = [jobs.migrationJobIsActive(domain, 'm'), jobs.migrationJobIsActive(domain, 'm')];
    const both = await Promise.allSettled([
      jobs.migrationJobStartPhase(one, 'perform3', never),
      jobs.migrationJobStartPhase(two, 'confirm3-cancelled', never),
    ]);
    expect(both.map((each) => (each.status === 'rejected' ? kindOf(each.reason) : 'ok'))).toEqual([
      'ok',
      'phase-in-progress',
    ]);
    await expect(jobs.migrationJobFinish(two, { outcome: 'failed', record: {} }, never)).rejects.toThrow(
      /another call/,
    );
    expect(await jobs.activeOf(domain, never)).toMatchObject({ phase: 'perform3', executing: true });
  });

  it('has two slots on two hosts', async () => {
    using here = agent('MIGRATION_OUT');
    using there = agent('MIGRATION_IN', { host: 'b', owner: 'dest-agent@b' });
    const request = { domain: randomUUID(), migrationId: 'm', options: {} };
    await here.migrationJobStart(request, never);
    const arriving = await there.migrationJobStart(request, never);
    await there.migrationJobStartPhase(arriving, 'prepare', never);
    expect(await here.activeOf(request.domain, never)).toMatchObject({ kind: 'MIGRATION_OUT', phase: 'none' });
    expect(await there.activeOf(request.domain, never)).toMatchObject({ kind: 'MIGRATION_IN', phase: 'prepare' });
  });
});

describe('recovery', () => {
  it('finds the domains that are held on its host, and only those', async () => {
    const [here, there, ended] = [randomUUID(), randomUUID(), randomUUID()];
    using jobs = agent('MIGRATION_OUT', { host: 'a-1', owner: 'source-agent@a-1' });
    using others = agent('MIGRATION_OUT', { host: 'b-a-1', owner: 'source-agent@b-a-1' });
    await begun(jobs, here);
    await begun(others, there);
    await jobs.migrationJobFinish(await begun(jobs, ended, 'm2'), { outcome: 'failed', record: {} }, never);
    // More than one page of keys.
    await server.client().mset(Object.fromEntries(Array.from({ length: 3_000 }, (_, at) => [`filler:${at}`, 'x'])));
    expect(await jobs.domains(never)).toEqual([here]);
    expect(await others.domains(never)).toEqual([there]);
  });

  it('takes over what an earlier process of the same agent held, which then can write no more', async () => {
    using before = agent('MIGRATION_OUT');
    using after = agent('MIGRATION_OUT');
    const domain = randomUUID();
    const old = await begun(before, domain, 'm', { live: 'yes' });

    const job = await after.migrationJobAdopt(domain, never);
    expect(job).toMatchObject({ migrationId: 'm', phase: 'begin3', executing: true, options: { live: 'yes' } });
    expect(job?.startedAtMs).toBe(old.startedAtMs);

    await expect(before.migrationJobStartPhase(old, 'perform3', never)).rejects.toMatchObject({ kind: 'lease-lost' });
    expect(old.signal.aborted).toBe(true);
    expect(() => before.migrationJobIsActive(domain, 'm')).toThrow(/is lost/);
    expect(await after.activeOf(domain, never)).toMatchObject({ phase: 'begin3' });
  });

  it('leaves alone what is held by itself, by another agent, or of the other kind, until the lease has run out', async () => {
    using out = agent('MIGRATION_OUT');
    using other = agent('MIGRATION_OUT', { owner: 'other@a' });
    using incoming = agent('MIGRATION_IN');
    const domain = randomUUID();
    expect(await out.migrationJobAdopt(domain, never)).toBeUndefined();
    await begun(out, domain);
    expect(await out.migrationJobAdopt(domain, never)).toBeUndefined();
    expect(await other.migrationJobAdopt(domain, never)).toBeUndefined();
    expect(await incoming.migrationJobAdopt(domain, never)).toBeUndefined();

    await server.client().del(`ferry:{${domain}}:lease:a`);
    expect(await out.activeOf(domain, never)).toMatchObject({ leased: false });
    expect(await incoming.migrationJobAdopt(domain, never)).toBeUndefined();
    expect(await other.migrationJobAdopt(domain, never)).toMatchObject({ migrationId: 'm' });
    expect(await out.activeOf(domain, never)).toMatchObject({ owner: 'other@a', leased: true });
  });

  it('is not made again by halves where Redis has evicted its slot: it is regained, or nothing is left of it', async () => {
    using jobs = agent('MIGRATION_OUT');
    const domain = randomUUID();
    const job = await begun(jobs, domain);
    const slot = `ferry:{${domain}}:job:a`;
    await server.client().del(slot);
    await expect(jobs.migrationJobStartPhase(job, 'perform3', never)).rejects.toMatchObject({ kind: 'lease-lost' });
    await expect(jobs.migrationJobContinue(job, undefined, never)).rejects.toMatchObject({ kind: 'lease-lost' });
    expect(await server.client().exists(slot)).toBe(0);
  });

  it('leaves a record that says what it is of where Redis has evicted it meanwhile', async () => {
    using jobs = agent('MIGRATION_OUT');
    const client = server.client();
    const domain = randomUUID();
    const record = `ferry:{${domain}}:migration:m:a`;
    const whose = { kind: 'MIGRATION_OUT', domain, migrationId: 'm', owner: 'source-agent@a' };
    const job = await begun(jobs, domain);
    await client.del(record);
    await jobs.migrationJobContinue(job, { phase: 'begin3', bytes: Buffer.from('1') }, never);
    expect(await jobs.recordOf(domain, 'm', never)).toMatchObject(whose);
    await client.del(record);
    await jobs.migrationJobFinish(job, { outcome: 'completed', record: {} }, never);
    expect(await jobs.recordOf(domain, 'm', never)).toMatchObject({ ...whose, outcome: 'completed' });
  });

  it('gives a job back to the agent that lost its lease for a while', async () => {
    const clock = new VirtualClock();
    using jobs = agent('MIGRATION_OUT', { clock });
    const domain = randomUUID();
    const job = await begun(jobs, domain);
    clock.stall(9001); // the process stood still, and Redis went on
    await server.client().del(`ferry:{${domain}}:lease:a`);
    await expect(jobs.migrationJobStartPhase(job, 'perform3', never)).rejects.toMatchObject({ kind: 'lease-lost' });

    const again = await jobs.migrationJobAdopt(domain, never);
    if (again === undefined) throw new Error('not adopted');
    await jobs.migrationJobSetPhase(again, 'confirm3-cancelled', never);
    await jobs.migrationJobFinish(again, { outcome: 'failed', record: {} }, never);
    expect(await jobs.activeOf(domain, never)).toBeUndefined();
  });
});
