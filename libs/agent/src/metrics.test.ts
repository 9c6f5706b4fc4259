import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';
import { measure, observe, recordWhen, startRecording } from './metrics.ts';
import { type MetricRow, metricTable, prometheusLabel, prometheusName } from './metrics-table.ts';

const rows: readonly MetricRow[] = Object.values(metricTable);

/** Collects when it is told to. */
class Reader extends MetricReader {
  protected override onForceFlush = () => Promise.resolve();
  protected override onShutdown = () => Promise.resolve();

  /** The values of a metric, by its name. */
  async values(name: string): Promise<unknown[]> {
    const { resourceMetrics } = await this.collect();
    const found = resourceMetrics.scopeMetrics.flatMap(({ metrics }) => metrics);
    return found
      .filter(({ descriptor }) => descriptor.name === name)
      .flatMap(({ dataPoints }) => dataPoints.map(({ value }) => value));
  }
}

function recording(): Reader {
  const reader = new Reader();
  startRecording(new MeterProvider({ readers: [reader] }).getMeter('test'));
  return reader;
}

afterEach(() => recordWhen((run) => run()));

describe('the table of metrics', () => {
  it('is what docs/metrics.md shows', () => {
    const generator = join(import.meta.dirname, '../../../tools/generate-metrics-docs.ts');
    const { status, stderr } = spawnSync(process.execPath, [generator, '--check'], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  it('has names and labels by convention, each once', () => {
    for (const { name, labels, unit } of rows) {
      expect(name).toMatch(/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$/);
      for (const label of labels) expect(prometheusLabel(label)).toMatch(/^[a-z][a-z0-9_]*$/);
      expect(['s', 'By', 'By/s', ''].includes(unit) || /^\{[a-z_]+\}$/.test(unit)).toBe(true);
      // OpenTelemetry: a name is no other's namespace.
      expect(rows.filter((other) => other.name.startsWith(`${name}.`)).map((other) => other.name)).toEqual([]);
    }
    expect(new Set(rows.map(prometheusName)).size).toBe(rows.length);
  });

  it('has buckets that rise, from a millisecond up where pauses and answers are measured', () => {
    for (const { kind, buckets = [], name } of rows) {
      expect([name, buckets.length > 0]).toEqual([name, kind === 'histogram']);
      expect(buckets).toEqual(buckets.toSorted((a, b) => a - b));
      if (kind === 'histogram' && name !== 'ferry.migration.duration')
        expect([name, buckets[0]]).toEqual([name, 0.001]);
    }
  });
});

describe('recording', () => {
  it('counts what is measured by the time it is exported', async () => {
    const reader = recording();
    measure('holds', 1, { 'ferry.reason': 'not-ready' });
    measure('holds', 2, { 'ferry.reason': 'not-ready' });
    expect(await reader.values('ferry.migration.holds')).toEqual([3]);
  });

  it('neither counts nor reads while a guest stands still', async () => {
    const reader = recording();
    const waiting: (() => void)[] = [];
    recordWhen((run) => waiting.push(run));
    let reads = 0;
    using _gauge = observe(() => {
      reads += 1;
      return { redisUp: [{ value: 1 }] };
    });
    measure('holds', 1, {});
    const exported = reader.values('ferry.migration.holds');
    await new Promise((resolve) => setImmediate(resolve));
    expect(reads).toBe(0);
    expect(waiting.length).toBeGreaterThan(0);
    for (const run of waiting) run();
    expect(await exported).toEqual([1]);
    expect(reads).toBe(1);
  });

  it('exports the rest where something cannot be read', async () => {
    const reader = recording();
    using _broken = observe(() => Promise.reject(new Error('broken')));
    using _other = observe(() => ({ redisUp: [{ value: 1 }] }));
    expect(await reader.values('ferry.redis.up')).toEqual([1]);
  });
});
