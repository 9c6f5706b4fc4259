/** A real Prometheus that scrapes agents of a lab, and what the shipped dashboards and rules ask of one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, freePort } from './world.ts';

export const observability = join(import.meta.dirname, '../deploy/observability');
const rulesFile = join(observability, 'prometheus/ferry.rules.yml');

export type Sample = { readonly metric: Readonly<Record<string, string>>; readonly value: readonly [number, string] };

export interface Prometheus extends AsyncDisposable {
  /** What a query gives now. Throws Prometheus' own words about one that it cannot read. */
  query(expr: string): Promise<readonly Sample[]>;
}

/** Starts one with the shipped rules, on loopback; it forgets everything when it ends. */
export async function startPrometheus(ports: readonly number[]): Promise<Prometheus> {
  const dir = await mkdtemp(join(tmpdir(), 'ferry-prometheus-'));
  await copyFile(rulesFile, join(dir, 'ferry.rules.yml'));
  const targets = ports.map((port) => `'127.0.0.1:${port}'`).join(', ');
  const config = [
    'global: { scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }',
    'rule_files: [ferry.rules.yml]',
    'scrape_configs:',
    `  - { job_name: ferry, static_configs: [{ targets: [${targets}] }] }`,
  ];
  await writeFile(join(dir, 'prometheus.yml'), `${config.join('\n')}\n`);
  const address = `127.0.0.1:${await freePort()}`;
  const args = [`--config.file=${dir}/prometheus.yml`, `--storage.tsdb.path=${dir}/data`];
  const child = spawn('prometheus', [...args, `--web.listen-address=${address}`, '--log.level=error'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const ended = once(child, 'exit');
  ended.catch(() => undefined);
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await eventually('Prometheus is ready', async () => {
      const ready = await fetch(`http://${address}/-/ready`).catch(() => undefined);
      return ready?.ok;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    query: async (expr) => {
      const response = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(expr)}`);
      const answer = (await response.json()) as {
        status: string;
        error?: string;
        data?: { result: readonly Sample[] };
      };
      if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`);
      return answer.data?.result ?? [];
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** A query of a panel, with what its legend names of each series. */
export interface PanelQuery {
  readonly where: string;
  readonly expr: string;
  readonly labels: readonly string[];
}

/** Those of every panel of every dashboard, for all hosts and migrations. */
export async function panelQueries(): Promise<PanelQuery[]> {
  const folder = join(observability, 'grafana');
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  const dashboards = await Promise.all(
    files.map(async (name) => JSON.parse(await readFile(join(folder, name), 'utf8'))),
  );
  interface Board {
    readonly title: string;
    readonly panels: readonly { title: string; targets: readonly { expr: string; legendFormat: string }[] }[];
    readonly templating: { readonly list: readonly { name: string; query: string }[] };
  }
  return (dashboards as Board[]).flatMap(({ title, panels, templating }) => [
    ...panels.flatMap((panel) =>
      panel.targets.map(({ expr, legendFormat }) => ({
        where: `${title}, ${panel.title}`,
        expr: withoutVariables(expr),
        labels: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label),
      })),
    ),
    ...templating.list.flatMap(({ name, query }) => {
      const [, expr = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(query) ?? [];
      return expr === '' ? [] : [{ where: `${title}, $${name}`, expr, labels: [label] }];
    }),
  ]);
}

const withoutVariables = (expr: string): string =>
  expr.replaceAll('$__rate_interval', '1m').replaceAll(/\$(host|migration)\b/g, '.*');

export interface Rule {
  readonly name: string;
  /** What it compares, without what it compares it with: a healthy host gives no more than that. */
  readonly operands: readonly string[];
  readonly runbook: string | undefined;
}

/** Every rule. */
export async function rules(): Promise<Rule[]> {
  const text = await readFile(rulesFile, 'utf8');
  return text
    .split(/^ {6}- /m)
    .slice(1)
    .map((rule) => {
      const [, name = ''] = /^(?:alert|record): (.*)$/m.exec(rule) ?? [];
      const [, block] = /^ {8}expr: \|\n((?: {10}.*\n)+)/m.exec(rule) ?? [];
      const [, line = ''] = /^ {8}expr: ([^|].*)$/m.exec(rule) ?? [];
      const [, runbook] = /^ {10}runbook_url: (.*)$/m.exec(rule) ?? [];
      const operands = (block ?? line)
        .split('\n')
        .map((part) => part.trim().replace(/^(==|!=|[<>]=?) */, ''))
        .filter((part) => part !== '' && part !== 'and' && !/^[\d.]+$/.test(part));
      return { name, operands, runbook };
    });
}
