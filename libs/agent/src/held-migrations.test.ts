import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { MigrationJobs, systemClock } from '@ferry/jobs';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { phases, type Side } from '@ferry/migration';
import { PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { Phase, Side as WireSide } from '@ferry/proto/ferry/v1/migration';
import { BlackoutGate } from './blackout-gate.ts';
import { HeldMigrations, type HeldMigrationsOptions } from './held-migrations.ts';
import { openLog } from './log.ts';
import { OngoingMigrations, type OngoingStart } from './ongoing.ts';

const never = new AbortController().signal;

let server: PrivateRedis;
beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const startOf = (side: Side, protocol: 2 | 3): OngoingStart => ({
  migrationId: randomUUID(),
  domainUuid: randomUUID(),
  domainName: 'web-1',
  side,
  protocol,
});

/** One life of an agent over a real Redis; what it finds is `start`'s migration. */
function agentOf(start: OngoingStart) {
  const kind = start.side === 'source' ? 'MIGRATION_OUT' : 'MIGRATION_IN';
  const settings = { redis: server.client(), host: 'a', owner: 'agent@a', leaseMs: 10_000, clock: systemClock };
  const jobs = new MigrationJobs({ ...settings, kind, phases: { ...phases, postcopy: { after: ['prepare'] } } });
  const recovered: (string | undefined)[] = [];
  const options: Partial<HeldMigrationsOptions<undefined>> = {
    side: start.side,
    jobs,
    log: openLog('silent'),
    clock: systemClock,
    ongoing: new OngoingMigrations(),
    gate: new BlackoutGate(),
    assertOwner: async () => undefined,
    takeUpForgotten: async () => undefined,
    revive: async () => ({ start, state: undefined }),
    recover: async (held) => {
      recovered.push(held.phase);
      return 'failed';
    },
    settledBy: () => undefined,
    ended: async () => undefined,
    isOld: async () => true,
  };
  return { jobs, recovered, migrations: new HeldMigrations(options as HeldMigrationsOptions<undefined>) };
}

const jobOf = ({ domainUuid: domain, migrationId }: OngoingStart) => ({ domain, migrationId, options: {} });

it.each([
  ['dest', 3, 'prepare', WireSide.SIDE_DEST],
  ['source', 3, 'begin3', WireSide.SIDE_SOURCE],
  ['source', 2, 'perform2', WireSide.SIDE_SOURCE],
] as const)(
  'answers the call again that had opened a job in no phase: %s, v%d',
  async (side, protocol, phase, onWire) => {
    const start = startOf(side, protocol);
    await agentOf(start).jobs.migrationJobStart(jobOf(start), never);
    const { migrations, recovered } = agentOf(start);
    await migrations.sweep(never);
    expect(recovered).toEqual([undefined]);
    const body = (): Promise<PrepareResponse> => Promise.reject(new Error('it is not executed again'));
    const again = migrations.open(start, () => body() as never, { phase, codec: PrepareResponse, body }, never);
    await expect(again).rejects.toMatchObject({
      failure: { reason: 'abandoned', side: onWire, phase: Phase.PHASE_UNSPECIFIED },
    });
  },
);

it('takes no job over that is in a phase it does not know: what that means is not guessed', async () => {
  const start = startOf('dest', 3);
  const { jobs } = agentOf(start);
  const job = await jobs.migrationJobStart(jobOf(start), never);
  for (const phase of ['prepare', 'postcopy']) await jobs.migrationJobSetPhase(job, phase, never);
  const { migrations, recovered } = agentOf(start);
  await migrations.sweep(never);
  expect([recovered, migrations.all()]).toEqual([[], []]);
});
