import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { replyMsMax } from '@ferry/redis';
import { type Clock, type MigrationJob, MigrationJobs, systemClock } from './index.ts';
import { JobScripts } from './job-scripts.ts';
import { type PrivateRedis, startRedis } from './testing/redis-server.ts';
import { VirtualClock } from './testing/virtual-clock.ts';

const phases = { begin3: { after: [] }, perform3: { after: ['begin3'] } };
const never = new AbortController().signal;
const domain = randomUUID();
const me = { host: 'a', owner: 'source-agent@a', kind: 'MIGRATION_OUT', leaseMs: 10_000 } as const;

let server: PrivateRedis;
beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const agent = (clock: Clock = systemClock, redis = server.client()) =>
  new MigrationJobs({ redis, phases, clock, ...me });

async function begun(jobs: MigrationJobs): Promise<MigrationJob> {
  const job = await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
  await jobs.migrationJobStartPhase(job, 'begin3', never);
  return job;
}

describe('while Redis is away', () => {
  it('says so, and the job is there again when Redis is', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    server.freeze();
    await expect(jobs.migrationJobStartPhase(job, 'perform3', never)).rejects.toMatchObject({
      kind: 'redis-unavailable',
    });
    await expect(jobs.activeOf(domain, never)).rejects.toMatchObject({ kind: 'redis-unavailable' });
    expect(job.signal.aborted).toBe(false);
    expect(job.phase).toBe('begin3');
    server.thaw();
    await jobs.migrationJobFinish(job, { outcome: 'failed', record: {} }, never);
  });

  it('says so when nobody listens at all', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    await server.kill();
    const refused = { kind: 'redis-unavailable', message: expect.stringContaining('job-phase') };
    await expect(jobs.migrationJobStartPhase(job, 'perform3', never)).rejects.toMatchObject(refused);
  });

  it('waits for a reply no longer than a second, whatever the client was built with', async () => {
    const clock = new VirtualClock();
    using jobs = agent(clock, server.client({ commandTimeout: 3_600_000 }));
    await jobs.activeOf(domain, never);
    server.freeze();
    const asked = jobs.activeOf(domain, never);
    const refused = expect(asked).rejects.toMatchObject({ kind: 'redis-unavailable' });
    await clock.advance(replyMsMax);
    await refused;
  });

  it('gives up as soon as the caller does', async () => {
    using jobs = agent();
    await jobs.activeOf(domain, never);
    server.freeze();
    const caller = new AbortController();
    const asked = jobs.activeOf(domain, caller.signal);
    caller.abort(new Error('hung up'));
    await expect(asked).rejects.toThrow('hung up');
  });

  it('releases the ownership even so, or nobody could settle the migration', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    server.freeze();
    const caller = AbortSignal.abort(new Error('hung up'));
    await expect(jobs.migrationJobContinue(job, undefined, caller)).rejects.toThrow('hung up');
    server.thaw();
    await jobs.migrationJobStartPhase(jobs.migrationJobIsActive(domain, 'm'), 'perform3', never);
  });

  it('tells the holder when Redis comes back without its memory', async () => {
    const clock = new VirtualClock();
    using jobs = agent(clock);
    const job = await begun(jobs);
    await server.restart();
    const told = new Promise((resolve) => job.signal.addEventListener('abort', resolve));
    for (let renewals = 0; renewals < 3 && !job.signal.aborted; renewals++) {
      await clock.advance(clock.nextIn ?? 0);
      await jobs.activeOf(domain, never).catch(() => {}); // on the same connection, behind the renewal
    }
    await told;
    expect(job.signal.reason).toMatchObject({ kind: 'lease-lost' });
    expect(await jobs.activeOf(domain, never)).toBeUndefined();
    await jobs.migrationJobStart({ domain, migrationId: 'next', options: {} }, never);
  });
});

describe('a lease that was lost', () => {
  it('is regained after an absence: as it was, under a new token, and the phases go on', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    await server.client().del(`ferry:{${domain}}:lease:a`);
    await expect(jobs.migrationJobStartPhase(job, 'perform3', never)).rejects.toMatchObject({ kind: 'lease-lost' });
    expect(job.signal.aborted).toBe(true);
    const { token } = job;
    await jobs.migrationJobRegain(job, never);
    expect(job).toMatchObject({ migrationId: 'm', phase: 'begin3', executing: true });
    expect(job.signal.aborted).toBe(false);
    expect(job.token).not.toBe(token);
    await jobs.migrationJobStartPhase(job, 'perform3', never);
    await jobs.migrationJobContinue(job, undefined, never);
    expect(await jobs.activeOf(domain, never)).toMatchObject({ migrationId: 'm', phase: 'perform3', leased: true });
  });

  it('is regained when Redis has forgotten everything, record and all, owned by nobody if it was so', async () => {
    using jobs = agent();
    const job = await jobs.migrationJobStart({ domain, migrationId: 'm', options: { wasRunning: 'true' } }, never);
    await jobs.migrationJobStartPhase(job, 'begin3', never);
    await jobs.migrationJobContinue(job, undefined, never);
    await server.client().flushall();
    await jobs.migrationJobRegain(job, never);
    expect(job.executing).toBe(false);
    expect(await jobs.recordOf(domain, 'm', never)).toMatchObject({ phase: 'begin3', options: { wasRunning: 'true' } });
    await jobs.migrationJobFinish(jobs.migrationJobIsActive(domain, 'm'), { outcome: 'failed', record: {} }, never);
    expect(await jobs.activeOf(domain, never)).toBeUndefined();
  });

  it('replaces an older job of the same agent that an older copy of Redis remembers, and waits for those of others', async () => {
    using jobs = agent();
    using other = new MigrationJobs({
      ...me,
      redis: server.client(),
      phases,
      clock: systemClock,
      owner: 'dest-agent@a',
    });
    const job = await begun(jobs);
    const redis = server.client();
    await redis.hset(`ferry:{${domain}}:job:a`, { migration: 'older', instance: 'older' });
    await jobs.migrationJobRegain(job, never);
    expect(await jobs.activeOf(domain, never)).toMatchObject({ migrationId: 'm' });
    await redis.flushall();
    await other.migrationJobStart({ domain, migrationId: 'theirs', options: {} }, never);
    await expect(jobs.migrationJobRegain(job, never)).rejects.toMatchObject({ kind: 'already-migrating' });
    await redis.flushall();
    await using _short = await other.beginJob(domain, 'modify', 'Start', never);
    await expect(jobs.migrationJobRegain(job, never)).rejects.toMatchObject({ kind: 'job-held' });
  });
});

describe('a lease that is reacquired while the phase ends', () => {
  const regained = { kind: 'MIGRATION_OUT', leased: true };

  it('leaves the job owned by no call, in memory and in Redis', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    await server.client().flushall();
    await expect(jobs.migrationJobSetPhase(job, 'perform3', never)).rejects.toMatchObject({ kind: 'lease-lost' });
    const regaining = jobs.migrationJobRegain(job, never);
    await expect(jobs.migrationJobContinue(job, undefined, never)).rejects.toMatchObject({ kind: 'lease-lost' });
    await regaining;
    expect(await jobs.activeOf(domain, never)).toMatchObject({ ...regained, executing: false });
    await jobs.migrationJobStartPhase(jobs.migrationJobIsActive(domain, 'm'), 'perform3', never);
  });

  it('leaves it owned by the call that has begun the next phase', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    await jobs.migrationJobContinue(job, undefined, never);
    const next = jobs.migrationJobIsActive(domain, 'm');
    await jobs.migrationJobStartPhase(next, 'perform3', never);
    await server.client().flushall();
    await expect(jobs.migrationJobSetPhase(next, 'perform3', never)).rejects.toMatchObject({ kind: 'lease-lost' });
    await jobs.migrationJobRegain(job, never);
    expect(await jobs.activeOf(domain, never)).toMatchObject({ ...regained, phase: 'perform3', executing: true });
    const another = jobs.migrationJobStartPhase(jobs.migrationJobIsActive(domain, 'm'), 'perform3', never);
    await expect(another).rejects.toMatchObject({ kind: 'phase-in-progress' });
    await jobs.migrationJobFinish(next, { outcome: 'failed', record: {} }, never);
  });
});

describe('a reply that is lost', () => {
  it('leaves no domain held by a job that nobody has', async () => {
    using jobs = agent();
    await jobs.activeOf(domain, never);
    server.freeze();
    const caller = new AbortController();
    const started = jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, caller.signal);
    caller.abort(new Error('hung up'));
    await expect(started).rejects.toThrow('hung up');
    server.thaw();
    expect(await jobs.activeOf(domain, never)).toMatchObject({ migrationId: 'm', phase: 'none' });
    await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
  });

  it('does no harm when the client sends the script again', async () => {
    const scripts = new JobScripts(server.client(), systemClock, { ...me, instance: 'i' });
    const job = { domain, migrationId: 'm', token: 't' };
    const next = { phase: 'begin3', after: ['none'], step: 1, mode: 'start' } as const;
    const known = { phase: 'none', step: 0 };
    const end = { outcome: 'failed', atMs: 1, record: {}, reply: undefined };
    for (let sent = 0; sent < 2; sent++) expect(await scripts.start(job, 1, {}, never)).toBe('ok');
    for (let sent = 0; sent < 2; sent++) await scripts.phase(job, next, known, never);
    for (let sent = 0; sent < 2; sent++) await scripts.continue(job, undefined, never);
    for (let sent = 0; sent < 2; sent++) await scripts.finish(job, end, never);
    await expect(scripts.start({ ...job, token: 'u' }, 1, {}, never)).rejects.toMatchObject({
      kind: 'phase-out-of-order',
      message: expect.stringContaining('has ended already (failed)'),
    });
  });
});

describe('what Redis says', () => {
  it('is refused when it makes no sense', async () => {
    using jobs = agent();
    const redis = server.client();
    await redis.set(`ferry:{${domain}}:job:a`, 'not a hash');
    await expect(jobs.activeOf(domain, never)).rejects.toMatchObject({ kind: 'redis-reply' });
    await redis.del(`ferry:{${domain}}:job:a`);
    await redis.hset(`ferry:{${domain}}:job:a`, { migration: 'm', kind: 'MIGRATION_SIDEWAYS' });
    await expect(jobs.activeOf(domain, never)).rejects.toMatchObject({ kind: 'redis-reply' });
  });
});

describe('after a fail-over to a replica that has not seen the latest phases', () => {
  /** What Redis knew of the job when the function was called. */
  async function remember(): Promise<() => Promise<void>> {
    const redis = server.client();
    const keys = await redis.keys('*');
    const dumps = await Promise.all(keys.map((key) => redis.dumpBuffer(key)));
    return async () => {
      await redis.flushall();
      await Promise.all(keys.map((key, at) => redis.restore(key, me.leaseMs, dumps[at] ?? '')));
    };
  }

  it('goes on from the phase that it was told had been recorded', async () => {
    using jobs = agent();
    const job = await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
    const forget = await remember();
    await jobs.migrationJobStartPhase(job, 'begin3', never);
    await forget();
    await jobs.migrationJobStartPhase(job, 'perform3', never);
    expect(await jobs.activeOf(domain, never)).toMatchObject({ phase: 'perform3' });
  });

  it('still refuses what may not follow that phase', async () => {
    using jobs = agent();
    const job = await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
    const forget = await remember();
    await jobs.migrationJobStartPhase(job, 'begin3', never);
    await jobs.migrationJobStartPhase(job, 'perform3', never);
    await forget();
    const again = jobs.migrationJobStartPhase(job, 'perform3', never);
    await expect(again).rejects.toMatchObject({ kind: 'phase-out-of-order' });
  });

  it('does not take a phase whose confirmation was lost for one that is behind', async () => {
    using jobs = agent();
    const job = await begun(jobs);
    server.freeze();
    await expect(jobs.migrationJobStartPhase(job, 'perform3', never)).rejects.toThrow('did not answer');
    server.thaw();
    const again = jobs.migrationJobStartPhase(job, 'perform3', never);
    await expect(again).rejects.toMatchObject({ kind: 'phase-out-of-order' });
  });
});
