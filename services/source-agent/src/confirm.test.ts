import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { BlackoutGate, HeldMigrations, OngoingMigrations, openLog } from '@ferry/agent';
import { HandoverJournals, HandoverRegister, OwnerRecords } from '@ferry/handover';
import { MigrationJobs, systemClock } from '@ferry/jobs';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { phases } from '@ferry/migration';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { PerformResponse } from '@ferry/proto/ferry/v1/source_agent';
import { newState, type SourceAgent, type SourceState } from './agent.ts';
import { confirm } from './confirm.ts';

const never = new AbortController().signal;
const domain = randomUUID();
const migrationId = randomUUID();
const start = { migrationId, domainUuid: domain, domainName: 'web-1', side: 'source', protocol: 3 } as const;
const cancelled = { migrationId, domain, cookieIn: Buffer.alloc(0), cancelled: true };

let server: PrivateRedis;
let directory: string;
beforeEach(async () => {
  server = await startRedis();
  directory = await mkdtemp(join(tmpdir(), 'ferry-confirm-'));
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** A source agent at Perform: its jobs, register and journals are real, and its QEMU has sent the guest. */
async function performing() {
  const redis = server.client();
  const log = openLog('silent');
  const ongoing = new OngoingMigrations();
  const jobs = new MigrationJobs({
    redis,
    host: 'a',
    owner: 'source-agent@a',
    kind: 'MIGRATION_OUT',
    leaseMs: 10_000,
    phases,
    clock: systemClock,
  });
  const register = new HandoverRegister({ redis, host: 'a', side: 'source', address: 'a:1' });
  const done: string[] = [];
  const monitor = {
    execute: async (command: string) => {
      if (command === 'cont') done.push('resumed');
      return command === 'query-status' ? { status: 'postmigrate' } : {};
    },
  };
  const hypervisor = {
    guest: async () => ({ monitor }),
    isAlive: () => true,
    end: async () => void done.push('ended'),
  };
  const migrations = new HeldMigrations<SourceState>({
    side: 'source',
    jobs,
    ongoing,
    gate: new BlackoutGate(),
    log,
    clock: systemClock,
    patienceMs: () => 60_000,
    holdMs: 60_000,
    recover: async () => 'failed',
    assertOwner: async () => undefined,
    busy: () => false,
    revive: () => Promise.reject(new Error('nothing was left')),
    takeUpForgotten: async () => undefined,
    isOld: async () => false,
    settledBy: () => undefined,
    ended: async () => undefined,
  });
  const parts = {
    config: { address: 'a:1', host: { name: 'a' } },
    log,
    clock: systemClock,
    ongoing,
    jobs,
    register,
    owners: new OwnerRecords({ redis, host: 'a' }),
    migrations,
    hypervisor,
  };
  const agent = { ...parts, journals: new HandoverJournals(directory, () => undefined) } as unknown as SourceAgent;

  const incarnation = await register.incarnation(never);
  await register.begin({ domain, migrationId, incarnation, run: 'r' }, never);
  const make = async () => ({ options: {}, state: newState(3, true, incarnation, 'r') });
  const answer = PerformResponse.fromPartial({});
  const begun = { phase: 'begin3', codec: PerformResponse, body: async () => answer } as const;
  await migrations.open(start, make, begun, never);
  const sent = Promise.withResolvers<PerformResponse>();
  const stopped = Promise.withResolvers<undefined>();
  const body = () => {
    stopped.resolve(undefined);
    return sent.promise;
  };
  const run = {
    phase: 'perform3',
    doneAs: 'perform3-done',
    outlivesLease: true,
    codec: PerformResponse,
    body,
  } as const;
  const performed = migrations.step(domain, migrationId, run, never);
  await stopped.promise;
  const record = () => register.look({ domain, migrationId }, never);
  return { agent, jobs, done, record, performed, sent: () => sent.resolve(answer) };
}

it('decides nothing while Perform is executed', async () => {
  const { agent, jobs, done, record, performed, sent } = await performing();
  using _jobs = jobs;
  await expect(confirm(agent, cancelled, never)).rejects.toMatchObject({ kind: 'phase-in-progress' });
  sent();
  await performed;
  expect(done).toEqual([]);
  expect(await record()).toMatchObject({ decision: 'none' });
});

it('takes no default for the decision where Perform ends while a lost lease is being reacquired', async () => {
  const { agent, jobs, done, record, performed, sent } = await performing();
  using _jobs = jobs;
  const held = agent.migrations.find(migrationId);
  if (held === undefined) throw new Error('Perform is not held');
  await server.client().del(`ferry:{${domain}}:lease:a`);
  await expect(jobs.migrationJobSetPhase(held.job, 'perform3', never)).rejects.toThrow('lease');
  server.freeze();
  const confirming = confirm(agent, cancelled, never);
  const told = expect(confirming).rejects.toMatchObject({ kind: 'phase-in-progress' });
  // Confirm has come as far as it can without Redis.
  await setImmediate();
  sent();
  await performed;
  server.thaw();
  await told;
  expect(done).toEqual([]);
  expect(await record()).toMatchObject({ decision: 'none' });

  expect(await confirm(agent, cancelled, never)).toMatchObject({ outcome: Outcome.OUTCOME_FAILED });
  expect(done).toEqual(['resumed']);
  expect(await record()).toMatchObject({ decision: 'aborted' });
});

it('is the only one that decides: another Confirm meanwhile is told that it is executed', async () => {
  const { agent, jobs, done, performed, sent } = await performing();
  using _jobs = jobs;
  sent();
  await performed;
  server.freeze();
  const first = confirm(agent, cancelled, never);
  await expect(confirm(agent, cancelled, never)).rejects.toMatchObject({ kind: 'phase-in-progress' });
  server.thaw();
  await first;
  expect(done).toEqual(['resumed']);
  expect(await confirm(agent, cancelled, never)).toEqual(await first);
});
