/**
 * Makes docs/metrics.md from the table that the agents make their instruments from.
 *
 *   node tools/generate-metrics-docs.ts            writes the file
 *   node tools/generate-metrics-docs.ts --check    exits 1 when it is not what the code gives
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type MetricRow, metricTable, prometheusLabel, prometheusName } from '../libs/agent/src/metrics-table.ts';

const file = join(import.meta.dirname, '../docs/metrics.md');

const head = `# Metrics

Every metric of the agents. Prometheus fetches them at \`http://$FERRY_METRICS_LISTEN/metrics\`, by the first name of each row; an OTLP collector gets the
second name, with units and labels as OpenTelemetry has them ([operations.md](operations.md#what-is-seen)).

For Prometheus every series also has \`service_name\` (\`source-agent\`, \`dest-agent\`) and \`host_name\`; \`target_info\` has the rest of what OpenTelemetry
calls a resource. A label that does not apply is left out. Histograms have \`_bucket\`, \`_sum\` and \`_count\`. Series appear with the first event that they
count, gauges at once.

While a guest of an agent stands still for its switchover nothing is recorded or exported: a scrape waits, at most a second.

This page is made by \`node tools/generate-metrics-docs.ts\`; a test compares it with the code, and another with what agents export in a migration.
`;

const sides = { source: 'source agent', dest: 'destination agent' } as const;

function sectionOf(row: MetricRow): string {
  if (row.name.startsWith('ferry.migration.')) return 'Migrations';
  if (/^(rpc|db|ferry\.(qmp|journal|lease|redis))\./.test(row.name)) return 'What migrations wait for';
  return 'The agent and its host';
}

function lineOf(row: MetricRow): string {
  const { name, kind, unit, labels, help, side, buckets } = row;
  const names = `\`${prometheusName(row)}\`<br>\`${name}\``;
  const marked = labels.map((label) => `\`${prometheusLabel(label)}\``).join(', ');
  const bounds = buckets === undefined ? '' : ` Buckets: ${buckets.join(', ')}.`;
  const whose = side === undefined ? '' : ` Of the ${sides[side]} alone.`;
  return `| ${names} | ${kind} | ${unit === '' ? '' : `\`${unit}\``} | ${marked} | ${help}${whose}${bounds} |`;
}

const tableHead = '| Prometheus, OTLP | Kind | Unit | Labels | What |\n|---|---|---|---|---|';
const rows: readonly MetricRow[] = Object.values(metricTable);
const sections = [...Map.groupBy(rows, sectionOf)].map(
  ([title, of]) => `## ${title}\n\n${tableHead}\n${of.map(lineOf).join('\n')}`,
);
const made = `${[head.trimEnd(), ...sections].join('\n\n')}\n`;
if (!process.argv.includes('--check')) {
  writeFileSync(file, made);
} else if (readFileSync(file, 'utf8') !== made) {
  process.stderr.write('docs/metrics.md is not what the code gives: run node tools/generate-metrics-docs.ts\n');
  process.exitCode = 1;
}
