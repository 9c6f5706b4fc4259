import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type JobKind, JobError, MigrationJobs, systemClock } from './index.ts';
import { type PrivateRedis, startRedis } from './testing/redis-server.ts';

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

function agent(kind: JobKind, more: { owner?: string; leaseMs?: number; waitMs?: number; host?: string } = {}) {
  const {
    owner = kind === 'MIGRATION_OUT' ? 'source-agent@a' : 'dest-agent@a',
    leaseMs = 10_000,
    waitMs = 0,
    host = 'a',
  } = more;
  return new MigrationJobs({ redis: server.client(), host, owner, kind, leaseMs, waitMs, phases, clock: systemClock });
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
    const begun = await jobs.migrationJobStart({ domain, migrationId, options: { live: 'yes' } }, never);
    await jobs.migrationJobStartPhase(begun, 'begin3', never);
    await jobs.migrationJobContinue(begun, { phase: 'begin3', bytes: new Uint8Array([0, 255, 10]) }, never);

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

  it('tells two calls at once apart', async () => {
    using jobs = agent('MIGRATION_OUT');
    const domain = randomUUID();
    const begun = await jobs.migrationJobStart({ domain, migrationId: 'm', options: {} }, never);
    await jobs.migrationJobStartPhase(begun, 'begin3', never);
    await jobs.migrationJobContinue(begun, undefined, never);

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
      /for another call/,
    );
    expect(await jobs.activeOf(domain, never)).toMatchObject({ phase: 'perform3', executing: true });
  });
});
