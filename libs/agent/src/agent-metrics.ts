/** An agent's gauges, and what the libraries below it tell of their commands. */
import { X509Certificate } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFile } from 'node:fs/promises';
import { journalWrites, registerCalls } from '@ferry/handover';
import type { Hypervisor } from '@ferry/hypervisor';
import { leaseChanges, redisCalls } from '@ferry/jobs';
import { phases, type Side } from '@ferry/migration';
import { qmpCommands } from '@ferry/qemu-qmp';
import type { Redis } from 'ioredis';
import type { TlsFiles } from './config.ts';
import { measure, observe, type Reading } from './metrics.ts';
import { failureLabels, hostsOf } from './migration-labels.ts';
import { type Ongoing, type OngoingMigrations, outcomeWords } from './ongoing.ts';

/** A migration's own figures are exported for so long after its end, ms: longer than from one scrape to the next. */
const shownMs = 300_000;
/** Of so many migrations at most: those that began last. */
const shownMax = 64;

interface Observed {
  readonly side: Side;
  readonly host: string;
  readonly ongoing: OngoingMigrations;
  readonly redis: Pick<Redis, 'status'>;
  readonly hypervisor: Pick<Hypervisor, 'list'>;
  readonly tls: TlsFiles | undefined;
}

/** Exports an agent's gauges until disposed of. */
export function observeAgent({ side, host, ongoing, redis, hypervisor, tls }: Observed): Disposable {
  const observed = new DisposableStack();
  observed.use(hear());
  beginAtNothing(side);
  observed.use(observe(() => migrationsOf(side, host, ongoing)));
  observed.use(observe(() => ({ redisUp: [{ value: redis.status === 'ready' ? 1 : 0 }] })));
  if (side === 'source') observed.use(observe(async () => ({ qemus: [{ value: (await hypervisor.list()).length }] })));
  if (tls !== undefined) observed.use(observe(() => expiryOf(tls)));
  return observed;
}

/** What must be seen to grow the first time that it does: Prometheus sees no growth in a series that is new. */
function beginAtNothing(side: Side): void {
  for (const outcome of outcomeWords) measure('ended', 0, { 'ferry.side': side, 'ferry.outcome': outcome });
  measure('leaseLosses', 0, {});
}

/** What a command or a write that is over is told with. */
interface Done {
  readonly name: string;
  readonly seconds: number;
  readonly error?: string;
}

/** Hears what libraries tell that know no metrics. */
function hear(): Disposable {
  const heard = new DisposableStack();
  const on = (channel: string, listener: (message: unknown) => void): void => {
    subscribe(channel, listener);
    heard.defer(() => void unsubscribe(channel, listener));
  };
  const whenDone =
    (record: (done: Done, error: { 'error.type'?: string }) => void) =>
    (message: unknown): void => {
      const done = message as Done;
      record(done, done.error === undefined ? {} : { 'error.type': done.error });
    };
  const script = whenDone(({ name, seconds }, error) =>
    measure('redisScript', seconds, { 'db.system.name': 'redis', 'db.operation.name': name, ...error }),
  );
  on(redisCalls, script);
  on(registerCalls, script);
  on(
    qmpCommands,
    whenDone(({ name, seconds }, error) => measure('qmpCommand', seconds, { 'ferry.qmp.command': name, ...error })),
  );
  on(
    journalWrites,
    whenDone(({ seconds }, error) => measure('journalWrite', seconds, error)),
  );
  on(leaseChanges, (change) => {
    if (change === 'lost') measure('leaseLosses', 1, {});
    else measure('leaseRenewals', 1, { 'ferry.result': String(change) });
  });
  return heard;
}

/** What is in flight, and the figures of each. */
function migrationsOf(side: Side, host: string, ongoing: OngoingMigrations) {
  const active = ongoing.active();
  const sides = { 'ferry.side': side };
  const count = (is: (one: Ongoing) => boolean): number => active.filter(is).length;
  const ofSide = Object.entries(phases).flatMap(([phase, rule]) => (rule.side === side ? [phase] : []));
  const byPhase = ['none', ...ofSide].map((phase) => ({
    value: count((one) => (one.phase ?? 'none') === phase),
    labels: { ...sides, 'ferry.phase': phase },
  }));
  const shown = ongoing.recent(shownMs, shownMax);
  return {
    active: byPhase,
    inDoubt: [{ value: count((one) => one.inDoubt), labels: sides }],
    info: shown.map((one) => ({ value: 1, labels: infoOf(host, one) })),
    ...(side === 'source' ? { holding: [{ value: count((one) => one.holds) }], ...figuresOf(shown) } : {}),
  };
}

const namesOf = ({ start }: Ongoing) => ({
  'ferry.migration_id': start.migrationId,
  'ferry.domain': start.domainUuid,
  'ferry.domain_name': start.domainName,
});

function infoOf(host: string, one: Ongoing) {
  const { from, to } = hostsOf(host, one);
  const ended = one.ended ? failureLabels(one) : {};
  return {
    ...namesOf(one),
    'ferry.side': one.start.side,
    'ferry.from': from,
    'ferry.to': to,
    ...ended,
    trace_id: one.traceId,
  };
}

function figuresOf(shown: readonly Ongoing[]) {
  const each = (value: (one: Ongoing) => bigint): Reading<'throughput'>[] =>
    shown.map((one) => ({ value: Number(value(one)), labels: namesOf(one) }));
  return {
    memoryTotal: each(({ statistics }) => statistics.memoryTotalBytes),
    memoryRemaining: each(({ statistics }) => statistics.memoryRemainingBytes),
    throughput: each(({ ended, statistics }) => (ended ? 0n : statistics.bytesPerSecond)),
    dirtyRate: each(({ ended, statistics }) => (ended ? 0n : statistics.dirtyBytesPerSecond)),
    passes: each(({ statistics }) => statistics.memoryPasses),
  };
}

/** When the files that TLS is done with expire. */
async function expiryOf({ cert, ca }: TlsFiles) {
  const [own, authorities] = await Promise.all([earliestIn(cert), earliestIn(ca)]);
  return {
    certificateExpiry: [
      { value: own, labels: { 'ferry.file': 'cert' } },
      { value: authorities, labels: { 'ferry.file': 'ca' } },
    ],
  };
}

/** When the first certificate of a PEM file expires, seconds since 1970. */
async function earliestIn(file: string): Promise<number> {
  const pem = await readFile(file, 'latin1');
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return Math.min(...certificates.map((text) => new X509Certificate(text).validToDate.getTime() / 1e3));
}
