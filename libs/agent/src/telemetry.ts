/**
 * Starts OpenTelemetry. Only what makes spans is loaded at once, so that the first call has its own; what sends them is loaded with the first
 * that are sent, and metrics where they are configured.
 */
import { hostname } from 'node:os';
import { context, diag, DiagLogLevel, metrics, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  CompositePropagator,
  ExportResultCode,
  W3CBaggagePropagator,
  W3CTraceContextPropagator,
} from '@opentelemetry/core';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { MetricReader, PushMetricExporter, ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { ATTR_SERVICE_INSTANCE_ID, ATTR_SERVICE_NAME, ATTR_SERVICE_VERSION } from '@opentelemetry/semantic-conventions';
import { build } from '@ferry/migration';
import { parseHostPort } from '@ferry/rpc';
import { errorLog } from './log.ts';

/** How long a process may go on for the sake of spans that are not exported yet, ms. */
const flushMsMax = 1_500;

const { env } = process;
type Resource = ReturnType<typeof defaultResource>;

/**
 * Starts it for this process, before its first span. `program`: source-agent, unless OTEL_SERVICE_NAME says otherwise. Disposed of when the program is
 * done, it may end the process.
 */
export async function startTelemetry(program: string): Promise<AsyncDisposable> {
  logComplaints();
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return { [Symbol.asyncDispose]: () => Promise.resolve() };
  const resource = resourceOf(program);
  const tracers = startTraces(resource);
  const ends = [tracers, ...(await startMetrics(resource))];
  let ended: Promise<void> | undefined;
  const end = (): Promise<void> => (ended ??= endAll(ends));
  // For a program that has nothing left to do, and does not say so.
  process.once('beforeExit', () => void end());
  return { [Symbol.asyncDispose]: end };
}

/**
 * Sends what is not sent yet, for a short time. A collector that is away, or takes everything and answers nothing, must neither keep the process alive
 * nor change its exit status: its open connections would.
 */
async function endAll(ends: readonly { shutdown(): Promise<void> }[]): Promise<void> {
  const giveUp = setTimeout(() => process.exit(), flushMsMax);
  await Promise.all(ends.map((end) => end.shutdown()))
    .catch((error: unknown) => errorLog().warn({ err: error }, 'telemetry could not be sent'))
    .finally(() => clearTimeout(giveUp));
}

function resourceOf(program: string): Resource {
  const host = env['FERRY_HOST'] ?? hostname();
  const service = env['OTEL_SERVICE_NAME'] ?? program;
  return defaultResource()
    .merge(
      resourceFromAttributes({
        [ATTR_SERVICE_NAME]: service,
        [ATTR_SERVICE_INSTANCE_ID]: `${service}@${host}`,
        'host.name': host,
        [ATTR_SERVICE_VERSION]: build.version,
        'ferry.commit': build.commit,
      }),
    )
    .merge(detectResources({ detectors: [envDetector] }));
}

/** Spans go to an OTLP collector if one is named; without one they are made all the same, for the trace ids in our logs. */
function startTraces(resource: Resource): TracerProvider {
  const sampler = samplerOf(env['OTEL_TRACES_SAMPLER'] ?? '');
  const provider = new TracerProvider({
    resource,
    spanProcessors: spanProcessors(),
    ...(sampler === undefined ? {} : { sampler }),
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(
    new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
  );
  trace.setGlobalTracerProvider(provider);
  return provider;
}

function spanProcessors(): SpanProcessor[] {
  if (endpointOf('TRACES') === '') return [];
  const processor = new BatchSpanProcessor({
    exporter: lateSpanExporter(),
    scheduledDelayMillis: millisecondsOf('OTEL_BSP_SCHEDULE_DELAY', 5_000),
    exportTimeoutMillis: millisecondsOf('OTEL_BSP_EXPORT_TIMEOUT', 30_000),
  });
  return [processor];
}

/** What exporters of spans and of metrics have in common. */
interface Exporter<Exported> {
  export(what: Exported, done: Done): void;
  forceFlush?(): Promise<void>;
  shutdown(): Promise<void>;
}

type Done = Parameters<SpanExporter['export']>[1];

/** An OTLP exporter, loaded when there is something to export. */
class LateExporter<Exported> implements Exporter<Exported> {
  readonly #load: () => Promise<Exporter<Exported>>;
  #loaded: Promise<Exporter<Exported>> | undefined;

  constructor(load: () => Promise<Exporter<Exported>>) {
    this.#load = load;
  }

  export(what: Exported, done: Done): void {
    this.#loaded ??= this.#load();
    void this.#loaded
      .then((exporter) => exporter.export(what, done))
      // oxlint-disable-next-line promise/no-callback-in-promise -- the interface has one
      .catch((error: Error) => done({ code: ExportResultCode.FAILED, error }));
  }

  async forceFlush(): Promise<void> {
    await (await this.#loaded)?.forceFlush?.();
  }

  async shutdown(): Promise<void> {
    await (await this.#loaded)?.shutdown();
  }
}

const lateSpanExporter = (): SpanExporter =>
  new LateExporter<ReadableSpan[]>(async () => {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
    return new OTLPTraceExporter();
  });

const lateMetricExporter = (): PushMetricExporter =>
  new LateExporter<ResourceMetrics>(async () => {
    const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-proto');
    return new OTLPMetricExporter();
  });

/** As OTEL_TRACES_SAMPLER names them; undefined: the default, parentbased_always_on. */
function samplerOf(name: string): Sampler | undefined {
  const ratio = (): Sampler => new TraceIdRatioBasedSampler(Number(env['OTEL_TRACES_SAMPLER_ARG'] ?? 1));
  const known: Readonly<Record<string, () => Sampler>> = {
    always_on: () => new AlwaysOnSampler(),
    always_off: () => new AlwaysOffSampler(),
    traceidratio: ratio,
    parentbased_always_off: () => new ParentBasedSampler({ root: new AlwaysOffSampler() }),
    parentbased_traceidratio: () => new ParentBasedSampler({ root: ratio() }),
  };
  return Object.hasOwn(known, name) ? known[name]?.() : undefined;
}

/**
 * Metrics are for Prometheus to fetch, where we are told to listen, and for an OTLP collector, if one is named. What is no address is for readConfig to
 * complain about.
 */
async function startMetrics(resource: Resource): Promise<{ shutdown(): Promise<void> }[]> {
  const listen = parseHostPort(env['FERRY_METRICS_LISTEN'] ?? '');
  const sends = env['OTEL_METRICS_EXPORTER'] !== 'none' && endpointOf('METRICS') !== '';
  if (listen === undefined && !sends) return [];
  const [{ MeterProvider, PeriodicExportingMetricReader }, { startRecording, PrometheusReader, observeProcess }] =
    await Promise.all([import('@opentelemetry/sdk-metrics'), import('./recording.ts')]);
  const readers: MetricReader[] = listen === undefined ? [] : [new PrometheusReader(listen)];
  if (sends) {
    const exportIntervalMillis = millisecondsOf('OTEL_METRIC_EXPORT_INTERVAL', 60_000);
    const exportTimeoutMillis = Math.min(exportIntervalMillis, millisecondsOf('OTEL_METRIC_EXPORT_TIMEOUT', 30_000));
    const exporter = lateMetricExporter();
    readers.push(new PeriodicExportingMetricReader({ exporter, exportIntervalMillis, exportTimeoutMillis }));
  }
  const provider = new MeterProvider({ resource, readers });
  metrics.setGlobalMeterProvider(provider);
  startRecording(provider.getMeter('@ferry/agent'));
  observeProcess();
  return [provider];
}

/** Where a collector takes that signal; "" for none. */
const endpointOf = (signal: 'TRACES' | 'METRICS'): string =>
  env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '';

const millisecondsOf = (name: string, otherwise: number): number => Number(env[name] ?? '') || otherwise;

/** What OpenTelemetry says of itself is a line of standard error. */
function logComplaints(): void {
  const say =
    (level: 'warn' | 'error') =>
    (message: string, ...details: unknown[]): void =>
      errorLog()[level]({ details: details.map(String) }, message);
  const silent = (): void => {};
  diag.setLogger(
    { error: say('error'), warn: say('warn'), info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}
