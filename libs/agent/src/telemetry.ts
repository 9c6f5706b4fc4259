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
import { ATTR_SERVICE_INSTANCE_ID, ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';
import { parseHostPort } from './address.ts';
import { errorLog } from './log.ts';

/** How long a process may go on for the sake of spans that are not exported yet, ms. */
const flushMsMax = 1_500;

const { env } = process;
type Resource = ReturnType<typeof defaultResource>;

/** Starts it for this process, before its first span. `program`: source-agent, unless OTEL_SERVICE_NAME says otherwise. */
export async function startTelemetry(program: string): Promise<void> {
  logComplaints();
  if (env['OTEL_SDK_DISABLED']?.toLowerCase() === 'true') return;
  const resource = resourceOf(program);
  const tracers = startTraces(resource);
  const ends = [tracers, ...(await startMetrics(resource))];
  // When nothing is left to do but this. A collector that is away must neither keep the process alive nor change its exit status.
  process.once('beforeExit', () => {
    const giveUp = setTimeout(() => process.exit(), flushMsMax);
    Promise.all(ends.map((end) => end.shutdown()))
      .catch((error: unknown) => errorLog().warn({ err: error }, 'telemetry could not be sent'))
      .finally(() => clearTimeout(giveUp));
  });
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
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '';
  if (endpoint === '') return [];
  const milliseconds = (name: string, otherwise: number): number => Number(env[name] ?? '') || otherwise;
  const processor = new BatchSpanProcessor({
    exporter: new LateExporter(),
    scheduledDelayMillis: milliseconds('OTEL_BSP_SCHEDULE_DELAY', 5_000),
    exportTimeoutMillis: milliseconds('OTEL_BSP_EXPORT_TIMEOUT', 30_000),
  });
  return [processor];
}

type Done = Parameters<SpanExporter['export']>[1];

/** The OTLP exporter, loaded when there is something to export. */
class LateExporter implements SpanExporter {
  #loaded: Promise<SpanExporter> | undefined;

  #load(): Promise<SpanExporter> {
    this.#loaded ??= import('@opentelemetry/exporter-trace-otlp-proto').then(
      ({ OTLPTraceExporter }) => new OTLPTraceExporter(),
    );
    return this.#loaded;
  }

  export(spans: ReadableSpan[], done: Done): void {
    void this.#load()
      .then((exporter) => exporter.export(spans, done))
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

/** Metrics are for Prometheus to fetch, where we are told to listen. What is no address is for readConfig to complain about. */
async function startMetrics(resource: Resource): Promise<{ shutdown(): Promise<void> }[]> {
  const listen = parseHostPort(env['FERRY_METRICS_LISTEN'] ?? '');
  if (listen === undefined) return [];
  const [{ MeterProvider }, { PrometheusExporter }] = await Promise.all([
    import('@opentelemetry/sdk-metrics'),
    import('@opentelemetry/exporter-prometheus'),
  ]);
  const provider = new MeterProvider({ resource, readers: [new PrometheusExporter(listen)] });
  metrics.setGlobalMeterProvider(provider);
  return [provider];
}

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
