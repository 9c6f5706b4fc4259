/** Every metric that the agents export, as data. Instruments, their names for Prometheus and docs/metrics.md follow it. */

export interface MetricRow {
  /** OpenTelemetry's name. */
  readonly name: string;
  /** A gauge is read when it is exported; counters and histograms are added to as things happen. */
  readonly kind: 'counter' | 'gauge' | 'histogram';
  /** As UCUM and OpenTelemetry write it. */
  readonly unit: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, in its unit. */
  readonly buckets?: readonly number[];
  /** The agent that has it; without one, both. */
  readonly side?: 'source' | 'dest';
  readonly help: string;
}

/** Answers and commands, s. */
const briefly = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600];
/** Pauses of a guest, s. */
const pauses = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60];
/** Ferry's own part of them, s. */
const ownPauses = [0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];
/** Whole migrations, s. */
const migrations = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600];

const oneMigration = ['ferry.migration_id', 'ferry.domain', 'ferry.domain_name'] as const;

export const metricTable = {
  started: {
    name: 'ferry.migration.started',
    kind: 'counter',
    unit: '{migration}',
    labels: ['ferry.side'],
    help: 'Migrations that this agent has begun to take part in.',
  },
  ended: {
    name: 'ferry.migration.ended',
    kind: 'counter',
    unit: '{migration}',
    labels: ['ferry.side', 'ferry.outcome', 'ferry.reason'],
    help: 'Migrations that have ended, by how and by the reason code of the first cause (none: completed). Both agents count each. Each outcome begins at 0 without a reason.',
  },
  active: {
    name: 'ferry.migration.active',
    kind: 'gauge',
    unit: '{migration}',
    labels: ['ferry.side', 'ferry.phase'],
    help: 'Migrations in flight, by the phase recorded last (none: no phase has begun).',
  },
  inDoubt: {
    name: 'ferry.migration.in_doubt',
    kind: 'gauge',
    unit: '{migration}',
    labels: ['ferry.side'],
    help: 'Migrations in doubt: the guest is paused, and which host may run it is not known yet.',
  },
  holding: {
    name: 'ferry.migration.holding',
    kind: 'gauge',
    unit: '{migration}',
    labels: [],
    side: 'source',
    help: 'Migrations whose switchover waits for something that does not answer, memory flowing.',
  },
  holds: {
    name: 'ferry.migration.holds',
    kind: 'counter',
    unit: '{hold}',
    labels: ['ferry.reason'],
    side: 'source',
    help: 'How often a switchover has begun to wait, by the reason code of what did not answer.',
  },
  queued: {
    name: 'ferry.migration.queued',
    kind: 'gauge',
    unit: '{migration}',
    labels: [],
    side: 'source',
    help: 'Guests that wait for their turn to be sent.',
  },
  recoveries: {
    name: 'ferry.migration.recoveries',
    kind: 'counter',
    unit: '{recovery}',
    labels: ['ferry.side', 'ferry.phase'],
    help: 'Migrations that went to recovery, by the phase in which they failed or were found.',
  },
  duration: {
    name: 'ferry.migration.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['ferry.side', 'ferry.outcome'],
    buckets: migrations,
    help: 'From the first phase of this agent until the migration had ended.',
  },
  blackout: {
    name: 'ferry.migration.blackout.duration',
    kind: 'histogram',
    unit: 's',
    labels: [],
    buckets: pauses,
    side: 'source',
    help: 'From STOP on the source until RESUME on the destination, by the clocks of both QEMUs.',
  },
  controlPlane: {
    name: 'ferry.migration.control_plane.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['ferry.side'],
    buckets: ownPauses,
    help: 'The part of the blackout that is not QEMU’s own: on the source from STOP until QEMU goes on, on the destination from the guest having been loaded until RESUME.',
  },
  memoryTransferred: {
    name: 'ferry.migration.memory.transferred',
    kind: 'counter',
    unit: 'By',
    labels: [],
    side: 'source',
    help: 'Guest memory sent, also by migrations that failed later.',
  },
  memoryTotal: {
    name: 'ferry.migration.memory.total',
    kind: 'gauge',
    unit: 'By',
    labels: oneMigration,
    side: 'source',
    help: 'Memory of a guest that is being sent, or was within the last 5 minutes.',
  },
  memoryRemaining: {
    name: 'ferry.migration.memory.remaining',
    kind: 'gauge',
    unit: 'By',
    labels: oneMigration,
    side: 'source',
    help: 'What of it is left to send, as QEMU counts it.',
  },
  throughput: {
    name: 'ferry.migration.throughput',
    kind: 'gauge',
    unit: 'By/s',
    labels: oneMigration,
    side: 'source',
    help: 'How fast it is sent; 0 once it has ended.',
  },
  dirtyRate: {
    name: 'ferry.migration.dirty_rate',
    kind: 'gauge',
    unit: 'By/s',
    labels: oneMigration,
    side: 'source',
    help: 'How fast the guest dirties its memory, by QEMU’s last pass; 0 once it has ended.',
  },
  passes: {
    name: 'ferry.migration.passes',
    kind: 'gauge',
    unit: '{pass}',
    labels: oneMigration,
    side: 'source',
    help: 'Pre-copy passes over its memory so far.',
  },
  info: {
    name: 'ferry.migration.info',
    kind: 'gauge',
    unit: '',
    labels: [...oneMigration, 'ferry.side', 'ferry.from', 'ferry.to', 'ferry.outcome', 'ferry.reason', 'trace_id'],
    help: '1 for each migration that is in flight, or ended within the last 5 minutes, at most 64: what joins its figures with its trace.',
  },
  leaseRenewals: {
    name: 'ferry.lease.renewals',
    kind: 'counter',
    unit: '{renewal}',
    labels: ['ferry.result'],
    help: 'Renewals of job leases: renewed, or unanswered and tried again.',
  },
  leaseLosses: {
    name: 'ferry.lease.losses',
    kind: 'counter',
    unit: '{lease}',
    labels: [],
    help: 'Leases that were lost: not renewed in time, or Redis says that they are another’s.',
  },
  redisUp: {
    name: 'ferry.redis.up',
    kind: 'gauge',
    unit: '',
    labels: [],
    help: '1 while this agent is connected to Redis, else 0.',
  },
  redisScript: {
    name: 'db.client.operation.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['db.system.name', 'db.operation.name', 'error.type'],
    buckets: briefly,
    help: 'How long Redis took to answer a script, by the script.',
  },
  qmpCommand: {
    name: 'ferry.qmp.command.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['ferry.qmp.command', 'error.type'],
    buckets: briefly,
    help: 'How long QEMU took to answer a command of its monitor.',
  },
  journalWrite: {
    name: 'ferry.journal.write.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['error.type'],
    buckets: briefly,
    help: 'How long it took to write a journal and sync it to the disk.',
  },
  rpcServer: {
    name: 'rpc.server.call.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['rpc.system.name', 'rpc.method', 'rpc.status_code', 'error.type'],
    buckets: briefly,
    help: 'How long calls took that this agent answered. error.type is the reason code, also of a migration that a stream reported as failed.',
  },
  rpcClient: {
    name: 'rpc.client.call.duration',
    kind: 'histogram',
    unit: 's',
    labels: ['rpc.system.name', 'rpc.method', 'rpc.status_code'],
    buckets: briefly,
    help: 'How long calls took that this agent made to others; a call that was opened ahead of its request counts from its opening.',
  },
  loopDelayMean: {
    name: 'nodejs.eventloop.delay.mean',
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Mean delay of the event loop’s timers over the last seconds.',
  },
  loopDelayP99: {
    name: 'nodejs.eventloop.delay.p99',
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Its 99th percentile.',
  },
  loopDelayMax: {
    name: 'nodejs.eventloop.delay.max',
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Its greatest.',
  },
  processCpu: {
    name: 'process.cpu.time',
    kind: 'counter',
    unit: 's',
    labels: ['cpu.mode'],
    help: 'Processor time of the agent.',
  },
  processMemory: {
    name: 'process.memory.usage',
    kind: 'gauge',
    unit: 'By',
    labels: [],
    help: 'Resident memory of the agent.',
  },
  heapUsed: {
    name: 'v8js.memory.heap.used',
    kind: 'gauge',
    unit: 'By',
    labels: [],
    help: 'What the agent’s JavaScript heap holds.',
  },
  openFiles: {
    name: 'process.unix.file_descriptor.count',
    kind: 'gauge',
    unit: '{file_descriptor}',
    labels: [],
    help: 'Files and sockets that the agent has open.',
  },
  uptime: {
    name: 'process.uptime',
    kind: 'gauge',
    unit: 's',
    labels: [],
    help: 'Since when the agent’s process runs.',
  },
  certificateExpiry: {
    name: 'ferry.tls.certificate.not_after',
    kind: 'gauge',
    unit: 's',
    labels: ['ferry.file'],
    help: 'When a certificate in use expires, seconds since 1970: `cert`, this agent’s own, and `ca`, the first of its authorities to expire. Absent without TLS.',
  },
  portsUsed: {
    name: 'ferry.migration.ports.used',
    kind: 'gauge',
    unit: '{port}',
    labels: [],
    side: 'dest',
    help: 'Ports of FERRY_MIGRATION_PORTS that migrations have taken.',
  },
  portsLimit: {
    name: 'ferry.migration.ports.limit',
    kind: 'gauge',
    unit: '{port}',
    labels: [],
    side: 'dest',
    help: 'How many ports that range has.',
  },
  qemus: {
    name: 'ferry.qemu.processes',
    kind: 'gauge',
    unit: '{process}',
    labels: [],
    side: 'source',
    help: 'QEMUs on this host that belong to Ferry.',
  },
  build: {
    name: 'ferry.build.info',
    kind: 'gauge',
    unit: '',
    labels: ['service.version', 'ferry.commit', 'process.runtime.version'],
    help: '1; its labels say which Ferry and which Node this agent is.',
  },
} as const satisfies Readonly<Record<string, MetricRow>>;

export type MetricKey = keyof typeof metricTable;
type KeysOf<Kind extends MetricRow['kind']> = {
  [K in MetricKey]: (typeof metricTable)[K]['kind'] extends Kind ? K : never;
}[MetricKey];
/** Those that are added to as things happen. */
export type MeasuredKey = Exclude<KeysOf<'counter' | 'histogram'>, 'processCpu'>;
/** Those that are read when they are exported. */
export type ObservedKey = KeysOf<'gauge'> | 'processCpu';
/** A metric's labels; one that does not apply is left out. */
export type Labels<K extends MetricKey> = Readonly<Partial<Record<(typeof metricTable)[K]['labels'][number], string>>>;

const unitWords: Readonly<Record<string, string>> = { s: '_seconds', By: '_bytes', 'By/s': '_bytes_per_second' };

/** The name that Prometheus knows a metric by: words in place of dots, the unit and, for what only grows, `total` at the end. */
export function prometheusName({ name, kind, unit }: Pick<MetricRow, 'name' | 'kind' | 'unit'>): string {
  const words = name.replaceAll(/[^A-Za-z0-9]/g, '_');
  const measured = `${words}${unitWords[unit] ?? ''}`;
  return kind === 'counter' ? `${measured}_total` : measured;
}

/** Likewise, of a label. */
export const prometheusLabel = (label: string): string => label.replaceAll(/[^A-Za-z0-9_]/g, '_');
