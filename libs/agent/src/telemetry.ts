/**
 * Starts OpenTelemetry: `node --import @ferry/agent/telemetry main.ts`. It must come before everything else, since instrumentation changes
 * modules as they load; without the hook on the first lines, traces look alive but fall apart into one trace for each process.
 */
import { hostname } from 'node:os';
import { basename, dirname } from 'node:path';
import { diag, DiagLogLevel, type Span } from '@opentelemetry/api';
import { GrpcInstrumentation } from '@opentelemetry/instrumentation-grpc';
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis';
import { PinoInstrumentation } from '@opentelemetry/instrumentation-pino';
import { defaultResource, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { ATTR_SERVICE_INSTANCE_ID, ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';
import { register } from 'import-in-the-middle/register-hooks.mjs';
import { parseHostPort } from './address.ts';

register({ include: ['@grpc/grpc-js', 'ioredis', 'pino'] });

/** How long a process may go on for the sake of spans that are not exported yet, ms. */
const flushMsMax = 1_500;

const { env } = process;
const host = env['FERRY_HOST'] ?? hostname();
/** services/source-agent/src/main.ts is source-agent, unless OTEL_SERVICE_NAME says otherwise. */
const service = env['OTEL_SERVICE_NAME'] ?? basename(dirname(dirname(process.argv[1] ?? '')));

type SdkOptions = NonNullable<ConstructorParameters<typeof NodeSDK>[0]>;

/** Spans go to an OTLP collector if one is named; without one they are made all the same, for the trace ids in our logs. */
async function spanOptions(): Promise<Pick<SdkOptions, 'traceExporter' | 'spanProcessors'>> {
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '';
  if (endpoint === '') {
    const done = (): Promise<void> => Promise.resolve();
    return { spanProcessors: [{ onStart: () => {}, onEnd: () => {}, forceFlush: done, shutdown: done }] };
  }
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto');
  return { traceExporter: new OTLPTraceExporter() };
}

/** Metrics are for Prometheus to fetch, where we are told to listen. What is no address is for readConfig to complain about. */
async function metricOptions(): Promise<Pick<SdkOptions, 'metricReaders'>> {
  const listen = parseHostPort(env['FERRY_METRICS_LISTEN'] ?? '');
  if (listen === undefined) return { metricReaders: [] };
  const { PrometheusExporter } = await import('@opentelemetry/exporter-prometheus');
  return { metricReaders: [new PrometheusExporter(listen)] };
}

/**
 * Lets a span end once. A command that was given up (`commandTimeout`) may be answered later, and ioredis passes that answer on as well: the
 * instrumentation ends the span at both.
 */
function endOnce(span: Span): void {
  const end = span.end.bind(span);
  span.end = (...time) => {
    end(...time);
    span.end = () => {};
    span.setStatus = () => span;
    span.recordException = () => {};
  };
}

const sdk = new NodeSDK({
  resource: defaultResource().merge(
    resourceFromAttributes({
      [ATTR_SERVICE_NAME]: service === '' ? 'ferry' : service,
      [ATTR_SERVICE_INSTANCE_ID]: `${service}@${host}`,
      'host.name': host,
    }),
  ),
  resourceDetectors: [envDetector],
  ...(await spanOptions()),
  ...(await metricOptions()),
  // Logs go to standard output, and nowhere by themselves.
  logRecordProcessors: [],
  instrumentations: [
    // By the method's name alone. Health checks come every few seconds, for ever.
    new GrpcInstrumentation({ ignoreGrpcMethods: ['Check', 'Watch', 'ServerReflectionInfo'] }),
    // Only the command: arguments may be anything.
    new IORedisInstrumentation({ dbStatementSerializer: (command) => command, requestHook: endOnce }),
    new PinoInstrumentation({ disableLogSending: true }),
  ],
});
sdk.start();

const { errorLog } = await import('./log.ts');
const log = errorLog();
const say =
  (level: 'warn' | 'error') =>
  (message: string, ...details: unknown[]): void =>
    log[level]({ details: details.map(String) }, message);
const silent = (): void => {};
diag.setLogger(
  { error: say('error'), warn: say('warn'), info: silent, debug: silent, verbose: silent },
  { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
);

// When nothing is left to do but this. A collector that is away must neither keep the process alive nor change its exit status.
process.once('beforeExit', () => {
  const giveUp = setTimeout(() => process.exit(), flushMsMax);
  sdk
    .shutdown()
    .catch((error: unknown) => log.warn({ err: error }, 'telemetry could not be sent'))
    .finally(() => clearTimeout(giveUp));
});
