/** Metrics as Prometheus reads them: its text format, over HTTP. */
import { eventually } from './world.ts';

/** One line of it. */
export interface Series {
  /** With `_bucket`, `_sum` or `_count`, where it is a histogram's. */
  readonly sample: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Families by their names. */
export type Metrics = ReadonlyMap<string, { readonly kind: string; readonly series: readonly Series[] }>;

/** What an agent exports now. */
export async function scrape(port: number): Promise<Metrics> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  if (!response.ok) throw new Error(`the scrape was answered with ${response.status}`);
  return parseMetrics(await response.text());
}

/** Scrapes until that is so. */
export function untilScraped(port: number, isSo: (metrics: Metrics) => boolean): Promise<Metrics> {
  return eventually(`it is exported on port ${port}: ${String(isSo)}`, async () => {
    const metrics = await scrape(port);
    return isSo(metrics) ? metrics : undefined;
  });
}

function parseMetrics(text: string): Metrics {
  const families = new Map<string, { kind: string; series: Series[] }>();
  for (const line of text.split('\n')) {
    const [, family, kind] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (family !== undefined && kind !== undefined) families.set(family, { kind, series: [] });
    if (line === '' || line.startsWith('#')) continue;
    const [, sample, labels = '', value] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (sample === undefined) throw new Error(`no line of a metric: ${line}`);
    const pairs = [...labels.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)].map(([, name = '', of = '']) => [
      name,
      of,
    ]);
    const owner = families.get(sample) ?? families.get(sample.replace(/_(bucket|sum|count)$/, ''));
    if (owner === undefined) throw new Error(`a series without a family: ${line}`);
    owner.series.push({ sample, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) });
  }
  return families;
}
