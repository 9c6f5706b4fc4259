import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Clock, type JobKind, MigrationJobs, type ShortJobKind, systemClock } from './index.ts';
import { type PrivateRedis, startRedis } from './testing/redis-server.ts';
import { VirtualClock } from './testing/virtual-clock.ts';

const kinds: readonly ShortJobKind[] = [
  'query',
  'destroy',
  'suspend',
  'modify',
  'abort',
  'migration-op',
  'modify-migration-safe',
];
const phases = { begin3: { after: [] }, prepare: { after: [] } };
const never = new AbortController().signal;

let server: PrivateRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

function agent(kind: JobKind, more: { waitMs?: number; clock?: Clock } = {}) {
  const owner = kind === 'MIGRATION_OUT' ? 'source-agent@a' : 'dest-agent@a';
  const usual = { redis: server.client(), host: 'a', owner, kind, leaseMs: 10_000, phases, clock: systemClock };
  return new MigrationJobs({ ...usual, ...more });
}

/** The short jobs that get in at once. */
async function allowed(jobs: MigrationJobs, domain: string): Promise<ShortJobKind[]> {
  const found: ShortJobKind[] = [];
  for (const kind of kinds) {
    try {
      await using _job = await jobs.beginJob(domain, kind, 'test', never);
      found.push(kind);
    } catch (error) {
      expect(error).toMatchObject({ kind: 'job-held' });
    }
  }
  return found;
}

describe('short jobs', () => {
  it('are all allowed while nothing migrates', async () => {
    using jobs = agent('MIGRATION_OUT', { waitMs: 0 });
    expect(await allowed(jobs, randomUUID())).toEqual(kinds);
  });

  it('follow the mask of an outgoing migration, also after it was adopted', async () => {
    using jobs = agent('MIGRATION_OUT', { waitMs: 0 });
    using restarted = agent('MIGRATION_OUT', { waitMs: 0 });
    using dest = agent('MIGRATION_IN', { waitMs: 0 });
    const domain = randomUUID();
    await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
    expect(await allowed(jobs, domain)).toEqual(kinds.filter((kind) => kind !== 'modify'));
    expect(await allowed(dest, domain)).toEqual(kinds.filter((kind) => kind !== 'modify'));
    await restarted.migrationJobAdopt(domain, never);
    expect(await allowed(restarted, domain)).toEqual(kinds.filter((kind) => kind !== 'modify' && kind !== 'suspend'));
  });

  it('follow the mask of an incoming migration', async () => {
    using jobs = agent('MIGRATION_IN', { waitMs: 0 });
    const domain = randomUUID();
    const job = await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
    expect(await allowed(jobs, domain)).toEqual(['destroy', 'modify-migration-safe']);
    await expect(jobs.beginJob(domain, 'query', 'List', never)).rejects.toMatchObject({
      message: expect.stringMatching(/query job by List .* MIGRATION_IN job of migration m .* held by dest-agent@a/),
      holder: { migrationId: 'm' },
    });
    await jobs.migrationJobFinish(job, { outcome: 'failed', record: {} }, never);
    expect(await allowed(jobs, domain)).toEqual(kinds);
  });

  it('run one at a time: the next goes on when the one before has ended', async () => {
    using one = agent('MIGRATION_OUT');
    using two = agent('MIGRATION_IN');
    const domain = randomUUID();
    const first = await one.beginJob(domain, 'query', 'Get', never);
    const order: string[] = [];
    const second = two.beginJob(domain, 'modify', 'Resume', never).then((job) => {
      order.push('second');
      return job;
    });
    const migration = one.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
    // Asked on the same connections, so both have been refused once when this is answered.
    expect(await Promise.all([one.activeOf(domain, never), two.activeOf(domain, never)])).toEqual([
      undefined,
      undefined,
    ]);
    order.push('first ends');
    await first[Symbol.asyncDispose]();
    const winner = await Promise.race([second.then(() => 'short'), migration.then(() => 'migration')]);
    if (winner === 'short') await (await second)[Symbol.asyncDispose]();
    const job = await migration;
    await one.migrationJobFinish(job, { outcome: 'failed', record: {} }, never);
    await (await second)[Symbol.asyncDispose]();
    expect(order).toEqual(['first ends', 'second']);
  });

  it('wait for 30 s and no longer, and name who is in the way', async () => {
    const clock = new VirtualClock();
    using holder = agent('MIGRATION_OUT');
    using waiter = agent('MIGRATION_OUT', { clock });
    const domain = randomUUID();
    await using _job = await holder.beginJob(domain, 'modify', 'Suspend', never);
    const ended = new AbortController();
    const waiting = waiter.beginJob(domain, 'query', 'Get', never).finally(() => ended.abort());
    const outcomes = Promise.allSettled([waiting]);
    while (!ended.signal.aborted) {
      // A reply that is under way is bounded by a second; only the pauses between two attempts are let pass.
      if ((clock.nextIn ?? 1000) <= 250) await clock.advance(clock.nextIn ?? 0);
      else await setImmediate();
    }
    expect(clock.monotonic()).toBe(30_000);
    expect(await outcomes).toMatchObject([
      {
        reason: {
          kind: 'job-held',
          message: expect.stringMatching(
            /query job by Get .* 30000 ms for the modify job by Suspend of source-agent@a/,
          ),
        },
      },
    ]);
  });

  it('stop waiting when the caller does', async () => {
    using jobs = agent('MIGRATION_OUT');
    const domain = randomUUID();
    await using _job = await jobs.beginJob(domain, 'modify', 'Suspend', never);
    const caller = new AbortController();
    const waiting = jobs.beginJob(domain, 'query', 'Get', caller.signal);
    caller.abort(new Error('hung up'));
    await expect(waiting).rejects.toThrow('hung up');
  });

  it('give way to a destroy, which tells the one before and waits for another destroy', async () => {
    const clock = new VirtualClock();
    using jobs = agent('MIGRATION_OUT', { clock });
    using killer = agent('MIGRATION_OUT', { waitMs: 0 });
    const domain = randomUUID();
    await using modify = await jobs.beginJob(domain, 'modify', 'Resume', never);
    await using _destroy = await killer.beginJob(domain, 'destroy', 'Destroy', never);
    const told = new Promise((resolve) => modify.signal.addEventListener('abort', resolve));
    await clock.advance(clock.nextIn ?? 0); // its next renewal
    await told;
    expect(modify.signal.reason).toMatchObject({ kind: 'lease-lost' });
    await expect(killer.beginJob(domain, 'destroy', 'Destroy', never)).rejects.toThrow(
      /for the destroy job by Destroy/,
    );
  });
});
