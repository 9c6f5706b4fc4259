/**
 * Makes the Grafana dashboards in deploy/observability/grafana. Their queries are run against a real Prometheus by test/metrics.test.ts.
 *
 *   node tools/generate-dashboards.ts            writes the files
 *   node tools/generate-dashboards.ts --check    exits 1 when one is not what this gives
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Dashboard,
  type Panel,
  ThresholdsMode,
  type VariableModel,
  VariableRefresh,
  VariableSort,
} from '@grafana/schema';

const folder = join(import.meta.dirname, '../deploy/observability/grafana');
const source = { type: 'prometheus', uid: '${datasource}' };

interface DataLink {
  readonly title: string;
  readonly url: string;
  readonly targetBlank: boolean;
}

/** A query, and what its series are called. */
type Query = readonly [expr: string, legend: string];

interface Looks {
  readonly unit?: string;
  readonly type?: 'timeseries' | 'stat' | 'table';
  readonly width?: number;
  readonly height?: number;
  readonly what?: string;
  readonly links?: DataLink[];
  /** From this value on it is red. */
  readonly red?: number;
}

type Drawn = Omit<Panel, 'gridPos'> & { readonly width: number; readonly height: number };

function panel(title: string, queries: readonly Query[], looks: Looks = {}): Drawn {
  const { type = 'timeseries', unit = 'short', width = type === 'stat' ? 4 : 12, what, links, red } = looks;
  const steps = [{ color: 'green', value: null }, ...(red === undefined ? [] : [{ color: 'red', value: red }])];
  return {
    type,
    title,
    width,
    height: looks.height ?? (type === 'stat' ? 4 : 8),
    datasource: source,
    ...(what === undefined ? {} : { description: what }),
    targets: queries.map(([expr, legendFormat], i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: source,
      expr,
      legendFormat,
      ...(type === 'timeseries' ? {} : { instant: true }),
      ...(type === 'table' ? { format: 'table' } : {}),
    })),
    fieldConfig: {
      defaults: {
        unit,
        min: 0,
        thresholds: { mode: ThresholdsMode.Absolute, steps },
        ...(links === undefined ? {} : { links }),
      },
      overrides: [],
    },
    options: type === 'timeseries' ? { tooltip: { mode: 'multi' }, legend: { displayMode: 'list' } } : {},
  };
}

/** Rows of panels, from left to right and from top to bottom. */
function placed(drawn: readonly Drawn[]): Panel[] {
  let [x, y, rowHeight] = [0, 0, 0];
  return drawn.map(({ width, height, ...rest }, i) => {
    if (x + width > 24) [x, y, rowHeight] = [0, y + rowHeight, 0];
    const gridPos = { x, y, w: width, h: height };
    x += width;
    rowHeight = Math.max(rowHeight, height);
    return { ...rest, id: i + 1, gridPos };
  });
}

const datasource: VariableModel = { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' };

/** Filled with a label's values. */
const labelVariable = (name: string, label: string, query: string, many: boolean): VariableModel => ({
  name,
  label,
  type: 'query',
  datasource: source,
  query,
  refresh: VariableRefresh.onTimeRangeChanged,
  sort: VariableSort.alphabeticalAsc,
  multi: many,
  includeAll: many,
  ...(many ? { allValue: '.*' } : {}),
});

const textVariable = (name: string, label: string, value: string): VariableModel => ({
  name,
  label,
  type: 'textbox',
  query: value,
  current: { text: value, value },
});

function dashboard(uid: string, title: string, variables: VariableModel[], panels: readonly Drawn[]): Dashboard {
  return {
    uid,
    title,
    tags: ['ferry'],
    editable: true,
    schemaVersion: 39,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    templating: { list: [datasource, ...variables] },
    links: [
      {
        title: 'Ferry',
        type: 'dashboards',
        tags: ['ferry'],
        asDropdown: true,
        icon: '',
        tooltip: '',
        url: '',
        keepTime: true,
        includeVars: false,
        targetBlank: false,
      },
    ],
    panels: placed(panels),
  };
}

const quantile = (q: number, metric: string, by: string, of = ''): string =>
  `histogram_quantile(${q}, sum by (le${by === '' ? '' : `, ${by}`}) (rate(${metric}_bucket{host_name=~"$host"${of}}[$__rate_interval])))`;

const hosts = labelVariable('host', 'Host', 'label_values(ferry_redis_up, host_name)', true);

const fleet = dashboard(
  'ferry-fleet',
  'Ferry: fleet',
  [hosts],
  [
    panel('In flight', [['sum(ferry_migration_active{ferry_side="source", host_name=~"$host"})', '']], {
      type: 'stat',
    }),
    panel('In doubt', [['sum(ferry_migration_in_doubt{host_name=~"$host"})', '']], {
      type: 'stat',
      red: 1,
      what: 'Guests that are paused until Redis or the other agent can tell which host may run them.',
    }),
    panel('Waiting to switch over', [['sum(ferry_migration_holding{host_name=~"$host"})', '']], {
      type: 'stat',
      red: 1,
    }),
    panel('Agents without Redis', [['count(ferry_redis_up{host_name=~"$host"} == 0) or vector(0)', '']], {
      type: 'stat',
      red: 1,
    }),
    panel('Agents down', [['count(up{job="ferry"} == 0) or vector(0)', '']], { type: 'stat', red: 1 }),
    panel('QEMUs', [['sum(ferry_qemu_processes{host_name=~"$host"})', '']], { type: 'stat' }),
    panel('Migrations by how they ended', [
      [
        'sum by (ferry_outcome) (increase(ferry_migration_ended_total{ferry_side="source", host_name=~"$host"}[$__rate_interval]))',
        '{{ferry_outcome}}',
      ],
    ]),
    panel('Why they did not complete', [
      [
        'sum by (ferry_reason) (increase(ferry_migration_ended_total{ferry_side="source", ferry_outcome!="completed", ferry_reason!="", host_name=~"$host"}[$__rate_interval]))',
        '{{ferry_reason}}',
      ],
    ]),
    panel('In flight, by phase', [
      [
        'sum by (ferry_side, ferry_phase) (ferry_migration_active{host_name=~"$host"})',
        '{{ferry_side}} {{ferry_phase}}',
      ],
    ]),
    panel(
      'Blackout',
      [
        [quantile(0.5, 'ferry_migration_blackout_duration_seconds', ''), 'median'],
        [quantile(0.99, 'ferry_migration_blackout_duration_seconds', ''), '99 %'],
      ],
      { unit: 's' },
    ),
    panel(
      'Ferry’s part of it',
      [
        [quantile(0.5, 'ferry_migration_control_plane_duration_seconds', 'ferry_side'), '{{ferry_side}}, median'],
        [quantile(0.99, 'ferry_migration_control_plane_duration_seconds', 'ferry_side'), '{{ferry_side}}, 99 %'],
      ],
      { unit: 's' },
    ),
    panel(
      'Duration',
      [
        [
          quantile(0.5, 'ferry_migration_duration_seconds', 'ferry_outcome', ', ferry_side="source"'),
          '{{ferry_outcome}}, median',
        ],
      ],
      { unit: 's' },
    ),
    panel(
      'Memory sent',
      [
        [
          'sum by (host_name) (rate(ferry_migration_memory_transferred_bytes_total{host_name=~"$host"}[$__rate_interval]))',
          '{{host_name}}',
        ],
      ],
      { unit: 'Bps' },
    ),
    panel('Holds and recoveries', [
      [
        'sum by (ferry_reason) (increase(ferry_migration_holds_total{host_name=~"$host"}[$__rate_interval]))',
        'hold: {{ferry_reason}}',
      ],
      [
        'sum by (ferry_phase) (increase(ferry_migration_recoveries_total{host_name=~"$host"}[$__rate_interval]))',
        'recovery from {{ferry_phase}}',
      ],
    ]),
    panel(
      'Redis scripts, 99 %',
      [[quantile(0.99, 'db_client_operation_duration_seconds', 'db_operation_name'), '{{db_operation_name}}']],
      { unit: 's' },
    ),
    panel('Leases', [
      [
        'sum by (host_name) (increase(ferry_lease_losses_total{host_name=~"$host"}[$__rate_interval]))',
        '{{host_name}}: lost',
      ],
      [
        'sum by (host_name, ferry_result) (rate(ferry_lease_renewals_total{host_name=~"$host"}[$__rate_interval]))',
        '{{host_name}}: {{ferry_result}}/s',
      ],
    ]),
    panel('Agents', [['ferry_build_info{host_name=~"$host"}', '']], {
      type: 'table',
      width: 24,
      what: 'Which Ferry and which Node each agent is.',
    }),
  ],
);

const oneHost = labelVariable('host', 'Host', 'label_values(ferry_redis_up, host_name)', false);

const host = dashboard(
  'ferry-host',
  'Ferry: host',
  [oneHost],
  [
    panel('Redis', [['ferry_redis_up{host_name=~"$host"}', '{{service_name}}']], { type: 'stat', width: 6 }),
    panel('QEMUs', [['ferry_qemu_processes{host_name=~"$host"}', '']], { type: 'stat' }),
    panel(
      'Ports left',
      [['ferry_migration_ports_limit{host_name=~"$host"} - ferry_migration_ports_used{host_name=~"$host"}', '']],
      { type: 'stat' },
    ),
    panel('Waiting for a turn', [['ferry_migration_queued{host_name=~"$host"}', '']], { type: 'stat' }),
    panel(
      'Certificates expire in',
      [['ferry_tls_certificate_not_after_seconds{host_name=~"$host"} - time()', '{{service_name}} {{ferry_file}}']],
      { type: 'stat', unit: 's', width: 6 },
    ),
    panel('In flight, by phase', [
      [
        'sum by (ferry_side, ferry_phase) (ferry_migration_active{host_name=~"$host"})',
        '{{ferry_side}} {{ferry_phase}}',
      ],
    ]),
    panel('Started', [
      [
        'sum by (ferry_side) (increase(ferry_migration_started_total{host_name=~"$host"}[$__rate_interval]))',
        '{{ferry_side}}',
      ],
    ]),
    panel(
      'Calls answered',
      [
        [
          'sum by (rpc_method, rpc_status_code) (rate(rpc_server_call_duration_seconds_count{host_name=~"$host"}[$__rate_interval]))',
          '{{rpc_method}} {{rpc_status_code}}',
        ],
      ],
      { unit: 'reqps' },
    ),
    panel(
      'How long they took, 99 %',
      [[quantile(0.99, 'rpc_server_call_duration_seconds', 'rpc_method'), '{{rpc_method}}']],
      { unit: 's' },
    ),
    panel('Calls refused or failed', [
      [
        'sum by (rpc_method, error_type) (increase(rpc_server_call_duration_seconds_count{error_type!="", host_name=~"$host"}[$__rate_interval]))',
        '{{rpc_method}} {{error_type}}',
      ],
    ]),
    panel(
      'Calls to other agents, 99 %',
      [[quantile(0.99, 'rpc_client_call_duration_seconds', 'rpc_method'), '{{rpc_method}}']],
      { unit: 's' },
    ),
    panel(
      'QMP commands, 99 %',
      [[quantile(0.99, 'ferry_qmp_command_duration_seconds', 'ferry_qmp_command'), '{{ferry_qmp_command}}']],
      { unit: 's' },
    ),
    panel(
      'Journal writes, 99 %',
      [[quantile(0.99, 'ferry_journal_write_duration_seconds', 'service_name'), '{{service_name}}']],
      { unit: 's' },
    ),
    panel(
      'Event loop delay',
      [
        ['nodejs_eventloop_delay_max_seconds{host_name=~"$host"}', '{{service_name}} max'],
        ['nodejs_eventloop_delay_p99_seconds{host_name=~"$host"}', '{{service_name}} 99 %'],
        ['nodejs_eventloop_delay_mean_seconds{host_name=~"$host"}', '{{service_name}} mean'],
      ],
      { unit: 's' },
    ),
    panel(
      'Processor',
      [['rate(process_cpu_time_seconds_total{host_name=~"$host"}[$__rate_interval])', '{{service_name}} {{cpu_mode}}']],
      { unit: 'percentunit' },
    ),
    panel(
      'Memory',
      [
        ['process_memory_usage_bytes{host_name=~"$host"}', '{{service_name}} resident'],
        ['v8js_memory_heap_used_bytes{host_name=~"$host"}', '{{service_name}} heap'],
      ],
      { unit: 'bytes' },
    ),
    panel('Open files', [['process_unix_file_descriptor_count{host_name=~"$host"}', '{{service_name}}']]),
    panel('Uptime', [['process_uptime_seconds{host_name=~"$host"}', '{{service_name}}']], { unit: 's' }),
  ],
);

/** A table's row has the trace's id; both viewers find a trace by it. */
const traceLinks: DataLink[] = [
  { title: 'Trace in Jaeger', url: '${jaeger}/trace/${__data.fields.trace_id}', targetBlank: true },
  {
    title: 'Trace in Tempo',
    url: '/explore?left={"datasource":"${tempo}","queries":[{"refId":"A","queryType":"traceql","query":"${__data.fields.trace_id}"}],"range":{"from":"now-24h","to":"now"}}',
    targetBlank: true,
  },
];

const of = '{ferry_migration_id=~"$migration"}';
const migrationVariables = [
  labelVariable('migration', 'Migration', 'label_values(ferry_migration_info, ferry_migration_id)', false),
  textVariable('jaeger', 'Jaeger', 'http://localhost:16686'),
  textVariable('tempo', 'Tempo’s uid', 'tempo'),
];

const migration = dashboard('ferry-migration', 'Ferry: one migration', migrationVariables, [
  panel('What it is', [[`ferry_migration_info${of}`, '']], {
    type: 'table',
    width: 24,
    height: 6,
    links: traceLinks,
    what: 'Both halves of it, with a link to the trace in each cell. Shown while it is in flight and for 5 minutes after.',
  }),
  panel(
    'Sent',
    [[`1 - ferry_migration_memory_remaining_bytes${of} / (ferry_migration_memory_total_bytes${of} > 0)`, '']],
    { type: 'stat', unit: 'percentunit' },
  ),
  panel('Remaining', [[`ferry_migration_memory_remaining_bytes${of}`, '']], { type: 'stat', unit: 'bytes' }),
  panel(
    'Time left at this rate',
    [
      [
        `ferry_migration_memory_remaining_bytes${of} / (ferry_migration_throughput_bytes_per_second${of} - ferry_migration_dirty_rate_bytes_per_second${of})`,
        '',
      ],
    ],
    { type: 'stat', unit: 's', what: 'Below 0: it does not converge. Without a number once it has ended.' },
  ),
  panel('Passes', [[`ferry_migration_passes${of}`, '']], { type: 'stat' }),
  panel(
    'Memory left to send',
    [
      [`ferry_migration_memory_remaining_bytes${of}`, 'remaining'],
      [`ferry_migration_memory_total_bytes${of}`, 'total'],
    ],
    { unit: 'bytes' },
  ),
  panel(
    'Throughput and dirty rate',
    [
      [`ferry_migration_throughput_bytes_per_second${of}`, 'sent'],
      [`ferry_migration_dirty_rate_bytes_per_second${of}`, 'dirtied'],
    ],
    { unit: 'Bps', what: 'A guest that is dirtied faster than it is sent does not converge.' },
  ),
]);

for (const made of [fleet, host, migration]) {
  const file = join(folder, `${made.uid}.json`);
  const text = `${JSON.stringify(made, undefined, 2)}\n`;
  if (!process.argv.includes('--check')) writeFileSync(file, text);
  else if (readFileSync(file, 'utf8') !== text) {
    process.stderr.write(`${file} is not what the code gives: run node tools/generate-dashboards.ts\n`);
    process.exitCode = 1;
  }
}
