import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Migration, Outcome, Phase, Resolution, Side } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { domain, failure, FakeHost } from './testing/fake-host.ts';
import { runFerry } from './testing/run-ferry.ts';

let a: FakeHost;
let b: FakeHost;
beforeEach(async () => {
  [a, b] = [await FakeHost.start('a'), await FakeHost.start('b')];
  b.does.domains = [];
});
afterEach(async () => {
  await a[Symbol.asyncDispose]();
  await b[Symbol.asyncDispose]();
});

const migrationId = '3fa85f64-5717-4562-b3fc-2c963f66afa6';
const { uuid } = domain();
const cause = {
  reason: 'destination-unreachable',
  message: 'no answer',
  side: Side.SIDE_SOURCE,
  phase: Phase.PHASE_PERFORM3_DONE,
  retryable: true,
};
const migration = (what: Partial<Migration>): Migration =>
  Migration.fromPartial({ migrationId, domainUuid: uuid, domainName: 'web-1', side: Side.SIDE_SOURCE, ...what });
const inDoubt = { active: true, outcome: Outcome.OUTCOME_IN_DOUBT, doubt: { cause, settledBy: 'b, or a word' } };

describe('ferry where', () => {
  it('tells of a migration in doubt, why, and what would settle it', async () => {
    a.does.domains = [domain({ state: DomainState.DOMAIN_STATE_MIGRATED, job: 'MIGRATION_OUT', migrationId })];
    b.does.domains = [domain({ state: DomainState.DOMAIN_STATE_INCOMING, job: 'MIGRATION_IN', migrationId })];
    a.does.migration = migration(inDoubt);
    b.does.incoming = migration({ ...inDoubt, side: Side.SIDE_DEST });
    const ran = await runFerry([a, b], ['where', 'web-1']);
    expect(ran.status).toBe(5);
    for (const host of ['a', 'b']) {
      expect(ran.stdout).toContain(
        `${host}: migration ${migrationId} is in doubt, the guest is paused: no answer (destination-unreachable); what settles it: b, or a word`,
      );
    }
    expect(ran.stderr).toContain(`migration ${migrationId} of web-1 is in doubt`);
    const json = await runFerry([a, b], ['where', 'web-1', '--json']);
    expect(json.stdout).toContain(`"event":"doubt","host":"a","migrationId":"${migrationId}"`);
  });
});

describe('ferry resolve', () => {
  it('lets the copy that is left go on, at whichever agent has it', async () => {
    b.does.incoming = migration({ side: Side.SIDE_DEST, outcome: Outcome.OUTCOME_COMPLETED });
    const ran = await runFerry([a, b], ['resolve', migrationId, '--gone', 'a']);
    expect(ran).toMatchObject({
      status: 0,
      stdout: 'web-1 is settled: it goes on on host b; the migration’s outcome: completed\n',
    });
    const request = { migrationId, domain: uuid, goneHost: 'a', resolution: Resolution.RESOLUTION_RUN_HERE };
    expect(b.received).toContainEqual(['resolveIncoming', request]);
    // Who is gone is not asked.
    expect(a.calls).toEqual([]);
  });

  it('ends it if told so, and says that the guest is lost', async () => {
    a.does.migration = migration({ outcome: Outcome.OUTCOME_GUEST_LOST, failure: cause });
    const ran = await runFerry([a, b], ['resolve', migrationId, '--gone', 'b', '--end', '--json']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ event: 'resolved', host: 'a', outcome: 'guest-lost' });
    const request = { migrationId, domain: uuid, goneHost: 'b', resolution: Resolution.RESOLUTION_END_HERE };
    expect(a.received).toContainEqual(['resolveMigration', request]);
  });

  it('says what the agent refuses', async () => {
    a.does.migration = migration({});
    a.does.errors['resolveMigration'] = failure('resolution-disproved', 'b answers', status.FAILED_PRECONDITION);
    const ran = await runFerry([a, b], ['resolve', migrationId, '--gone', 'b']);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain('resolution-disproved');
  });

  it('does not call it settled while the agent cannot act on it', async () => {
    a.does.migration = migration({ ...inDoubt });
    const ran = await runFerry([a, b], ['resolve', migrationId, '--gone', 'b']);
    expect(ran.status).toBe(5);
    expect(ran.stderr).toContain('cannot act on it yet: no answer');
  });

  it('finds nobody who knows it', async () => {
    const ran = await runFerry([a, b], ['resolve', migrationId, '--gone', 'b']);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain(`no host that is left knows of a migration ${migrationId}`);
    expect((await runFerry([a, b], ['resolve', migrationId])).status).toBe(2);
  });
});

describe('ferry history', () => {
  it('shows how each half of each migration ended, and why', async () => {
    const startedAt = new Date('2026-01-02T03:04:05.678Z');
    const half = { startedAt, host: 'a', phase: Phase.PHASE_CONFIRM3 };
    a.does.history = [
      migration({ ...half, active: true, phase: Phase.PHASE_PERFORM3 }),
      migration({ ...half, outcome: Outcome.OUTCOME_COMPLETED, statistics: { blackoutUs: 4_200n } as never }),
      migration({ ...half, outcome: Outcome.OUTCOME_GUEST_LOST, failure: cause, host: 'b', side: Side.SIDE_DEST }),
    ];
    const { stdout, status: exit } = await runFerry([a, b], ['history', 'web-1']);
    expect(exit).toBe(0);
    expect(stdout.split('\n').map((line) => line.replaceAll(/ {2,}/g, '|'))).toEqual([
      'BEGAN|MIGRATION|HOST|OUTCOME|WHY',
      `2026-01-02T03:04:05.678Z|${migrationId}|a source|in perform3`,
      `2026-01-02T03:04:05.678Z|${migrationId}|a source|completed|blackout 4.20 ms`,
      `2026-01-02T03:04:05.678Z|${migrationId}|b dest|guest-lost|destination-unreachable (source, perform3-done): no answer`,
      '',
    ]);
    const lines = (await runFerry([a, b], ['history', 'web-1', '--json'])).stdout.trimEnd().split('\n');
    expect(JSON.parse(lines[2] ?? '')).toMatchObject({
      host: 'b',
      side: 'dest',
      outcome: 'guest-lost',
      failure: { reason: 'destination-unreachable' },
    });
  });
});
