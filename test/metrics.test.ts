/** What the agents export, held against the table that docs/metrics.md is made from; and a collector that takes everything and answers nothing. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type MetricRow, metricTable, prometheusLabel, prometheusName } from '@ferry/agent/metrics-table';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import type { LabHost } from '@ferry/lab';
import { type Metrics, scrape, untilScraped } from './scrape.ts';
import { observability, panelQueries, type Prometheus, rules, startPrometheus } from './prometheus.ts';
import { startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, freePort, type TestGuest, World } from './world.ts';

const rows: readonly MetricRow[] = Object.values(metricTable);
const agents = ['a source', 'a dest', 'b source', 'b dest'] as const;

/** Accepts connections, and answers none. */
async function startMuteCollector(): Promise<{ server: Server; endpoint: string; bytes: () => number }> {
  let bytes = 0;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      bytes += chunk.length;
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { server, endpoint: `http://127.0.0.1:${port}`, bytes: () => bytes };
}

let collector: Awaited<ReturnType<typeof startMuteCollector>>;
let ports: Readonly<Record<string, number>>;
let prometheus: Prometheus;
let world: World;
let guest: TestGuest;
beforeAll(async () => {
  collector = await startMuteCollector();
  ports = Object.fromEntries(await Promise.all(agents.map(async (name) => [name, await freePort()] as const)));
  const telemetry = {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_BSP_SCHEDULE_DELAY: '20',
    OTEL_METRIC_EXPORT_INTERVAL: '50',
    FERRY_LEASE_MS: '1000',
  };
  world = await World.start({
    env: ({ host, side }) => ({ ...telemetry, FERRY_METRICS_LISTEN: `127.0.0.1:${ports[`${host} ${side}`]}` }),
  });
  prometheus = await startPrometheus(Object.values(ports));
  guest = await world.boot(world.a);
});
afterAll(async () => {
  await prometheus?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
  collector?.server.close();
});

const portOf = (name: (typeof agents)[number]): number => ports[name] ?? 0;

describe('a run in which migrations ended in several ways', () => {
  it('goes as it would without a collector that takes everything and answers nothing', async () => {
    const before = collector.bytes();
    expect(endOf(await world.migrate(guest)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    expect(endOf(await world.migrate(guest, {}, world.b, world.a)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.a);
    expect(collector.bytes()).toBeGreaterThan(before);
    await expectEndLogged(world.a, world.b);
    const failed = endOf(await world.migrate(guest, { migrationUri: 'tcp:192.0.2.1' }));
    expect(failed.failure?.reason).toBe('address-unusable');

    // Redis hangs while memory flows: the switchover waits, and leases are lost; it is back, and the caller gives up.
    const { migrationId, domain, events } = await startMigration(world, guest);
    world.lab.redis.signal('SIGSTOP');
    const said = (msg: string) => world.a.source.untilLogged((line) => (line['msg'] === msg ? line : undefined));
    await Promise.all([said('the switchover waits, memory flows'), said('the lease is lost')]);
    expect(await scrape(portOf('a source'))).toMatchObject({ size: expect.any(Number) });
    await untilScraped(portOf('a source'), (metrics) => valueOf(metrics, 'ferry_migration_holding') === 1);
    world.lab.redis.signal('SIGCONT');
    await said('the lease has been taken back');
    await callsOf(world.a).abort({ migrationId, domain });
    expect(endOf(await events).outcome).toBe(Outcome.OUTCOME_CANCELLED);
    await world.expectSettled(guest, world.a);
  });

  it('exports exactly what the table lists, by these names, kinds and labels', async () => {
    await untilScraped(portOf('a source'), (metrics) => valueOf(metrics, 'ferry_lease_renewals_total') > 0);
    const seen = new Map<string, { kind: string; labels: Set<string> }>();
    for (const name of agents) {
      const side = name.endsWith('source') ? 'source' : 'dest';
      for (const [family, { kind, series }] of await scrape(portOf(name))) {
        const row = rows.find((each) => prometheusName(each) === family);
        if (family === 'target_info') continue;
        expect([family, name, row?.side ?? side]).toEqual([family, name, side]);
        expect([family, kind]).toEqual([family, row?.kind]);
        const known = seen.get(family) ?? { kind, labels: new Set() };
        for (const { labels } of series) {
          for (const label of Object.keys(labels)) known.labels.add(label);
          expect(labels).toMatchObject({ service_name: `${side}-agent`, host_name: name.slice(0, 1) });
        }
        seen.set(family, known);
      }
    }
    expect([...seen.keys()].toSorted()).toEqual(rows.map(prometheusName).toSorted());
    const ours = new Set(['service_name', 'host_name', 'le']);
    for (const row of rows) {
      const labels = [...(seen.get(prometheusName(row))?.labels ?? [])].filter((label) => !ours.has(label));
      const listed = row.labels.map(prometheusLabel);
      expect([row.name, labels.filter((label) => !listed.includes(label))]).toEqual([row.name, []]);
      // No journal failed, for one.
      const sure = listed.filter((label) => label !== 'error_type');
      expect([row.name, sure.filter((label) => !labels.includes(label))]).toEqual([row.name, []]);
    }
  });

  it('has counted each migration once on each side, with how it ended', async () => {
    const source = await scrape(portOf('a source'));
    const ended = (metrics: Metrics, outcome: string, reason?: string) =>
      valueOf(metrics, 'ferry_migration_ended_total', {
        ferry_outcome: outcome,
        ...(reason && { ferry_reason: reason }),
      });
    expect(ended(source, 'completed')).toBe(1);
    expect(ended(source, 'failed', 'address-unusable')).toBe(1);
    expect(ended(source, 'cancelled', 'migration-cancelled')).toBe(1);
    expect(ended(await scrape(portOf('b dest')), 'completed')).toBe(1);
    expect(valueOf(source, 'ferry_migration_blackout_duration_seconds_count')).toBe(1);
    expect(valueOf(source, 'ferry_migration_memory_transferred_bytes_total')).toBeGreaterThan(64 * 2 ** 20 * 0.01);
    expect(valueOf(source, 'ferry_migration_active')).toBe(0);
    expect(valueOf(source, 'ferry_redis_up')).toBe(1);
    expect(valueOf(source, 'ferry_qemu_processes')).toBe(1);
    expect(valueOf(source, 'ferry_tls_certificate_not_after_seconds', { ferry_file: 'cert' })).toBeGreaterThan(
      Date.now() / 1e3,
    );
  });
});

describe('deploy/observability', () => {
  const operations = readFileSync(join(observability, '../../docs/operations.md'), 'utf8');
  const promtool = (...args: string[]) =>
    spawnSync('promtool', args, { cwd: join(observability, 'prometheus'), encoding: 'utf8' });

  it('has dashboards in which every panel and variable has data of such a run', async () => {
    const queries = await panelQueries();
    expect(queries.length).toBeGreaterThan(40);
    for (const { where, expr, labels } of queries) {
      const found = await eventually(`${where} has data: ${expr}`, async () => {
        const samples = await prometheus.query(expr);
        return samples.length > 0 ? samples : undefined;
      });
      const named = labels.filter((label) => found.some(({ metric }) => label in metric));
      expect([where, named]).toEqual([where, labels]);
    }
  });

  it('has rules of which every one has something to compare', async () => {
    const all = await rules();
    expect(all.length).toBeGreaterThan(15);
    for (const { name, operands } of all) {
      expect([name, operands.length > 0]).toEqual([name, true]);
      for (const operand of operands) {
        await eventually(`${name} has data: ${operand}`, async () => (await prometheus.query(operand)).length > 0);
      }
    }
  });

  it('has a test and a runbook for each alert, and no other', async () => {
    const alerts = (await rules()).filter(({ name }) => name.startsWith('Ferry'));
    const names = alerts.map(({ name }) => name);
    const tests = readFileSync(join(observability, 'prometheus/ferry.rules.test.yml'), 'utf8');
    const tested = [...tests.matchAll(/alertname="(\w+)"/g)].map(([, name = '']) => name);
    expect([...new Set(tested)].toSorted()).toEqual(names.toSorted());
    for (const { name, runbook } of alerts) expect(runbook).toBe(`docs/operations.md#${name.toLowerCase()}`);
    expect([...operations.matchAll(/^### (Ferry\w+)$/gm)].map(([, name]) => name)).toEqual(names);
    for (const args of [
      ['test', 'rules', 'ferry.rules.test.yml'],
      ['check', 'config', 'prometheus.yml'],
    ]) {
      const { status, stdout, stderr } = promtool(...args);
      expect({ args, status, output: status === 0 ? '' : `${stdout}${stderr}` }).toEqual({
        args,
        status: 0,
        output: '',
      });
    }
  });

  it('has the dashboards that tools/generate-dashboards.ts makes', () => {
    const tool = join(observability, '../../tools/generate-dashboards.ts');
    const { status, stderr } = spawnSync(process.execPath, [tool, '--check'], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
});

/** Of the first migration, which went from one host to the other, each agent has one line that says how it ended. */
async function expectEndLogged(from: LabHost, to: LabHost): Promise<void> {
  const isEnd = (line: Record<string, unknown>) => (line['event'] === 'migration-ended' ? line : undefined);
  const source = await from.source.untilLogged(isEnd);
  const { migrationId, trace_id } = source;
  const common = {
    msg: 'migration ended',
    level: 30,
    migrationId,
    trace_id,
    domain: guest.uuid,
    domainName: guest.name,
    outcome: 'completed',
    reason: '',
    from: from.name,
    to: to.name,
    requester: expect.stringMatching(/./),
  };
  expect(source).toMatchObject({ ...common, side: 'source' });
  expect(source['downtimeMs']).toBeGreaterThan(0);
  expect(source['bytes']).toBeGreaterThan(0);
  expect(await to.dest.untilLogged(isEnd)).toMatchObject({ ...common, side: 'dest' });
  const ends = from.source.logs().filter((line) => isEnd(line) && line['migrationId'] === migrationId);
  expect(ends.length).toBe(1);
}

/** The sum of a sample's values over the series that have these labels. */
function valueOf(metrics: Metrics, sample: string, labels: Readonly<Record<string, string>> = {}): number {
  const all = [...metrics.values()].flatMap(({ series }) => series);
  const found = all.filter(
    (each) => each.sample === sample && Object.entries(labels).every(([label, value]) => each.labels[label] === value),
  );
  return found.reduce((sum, { value }) => sum + value, 0);
}
