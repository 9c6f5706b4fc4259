import { context, isSpanContextValid, trace, TraceFlags } from '@opentelemetry/api';

/**
 * Runs what is done again and again for as long as a migration takes. It stays within its trace, whose id its log lines and the calls to others carry; its
 * spans are not recorded, on this host or another: a trace does not grow with the time.
 */
export function unsampled<T>(run: () => T): T {
  const spanContext = trace.getSpanContext(context.active());
  if (spanContext === undefined || !isSpanContextValid(spanContext)) return run();
  const quiet = trace.wrapSpanContext({ ...spanContext, traceFlags: TraceFlags.NONE });
  return context.with(trace.setSpan(context.active(), quiet), run);
}
