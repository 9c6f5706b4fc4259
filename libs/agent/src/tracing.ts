/**
 * Spans of the calls that this process makes and answers. Made here and not by instrumentation, which changes modules while they
 * load: half of an agent's start, and nothing that a bundle has.
 */
import { type EventEmitter, errorMonitor } from 'node:events';
import type { Metadata } from '@grpc/grpc-js';
import {
  type Context,
  type HrTime,
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapSetter,
  trace,
} from '@opentelemetry/api';
import { ATTR_RPC_METHOD, ATTR_RPC_STATUS_CODE, ATTR_RPC_SYSTEM_NAME } from '@opentelemetry/semantic-conventions';
import { measure } from './metrics.ts';

const tracer = trace.getTracer('@ferry/agent');

const toMetadata: TextMapSetter<Metadata> = { set: (metadata, key, value) => metadata.set(key, value) };
const fromMetadata: TextMapGetter<Metadata> = {
  keys: (metadata) => Object.keys(metadata.getMap()),
  get: (metadata, key) => {
    const [value] = metadata.get(key);
    return typeof value === 'string' ? value : undefined;
  },
};

/** What a call ended with, as gRPC has it. */
interface Ended {
  readonly code?: number | null;
  readonly details?: string | null;
}

/** Ends a call's span, once. */
type EndSpan = (ended?: Ended | null) => void;

const endOf =
  (span: Span): EndSpan =>
  (ended) => {
    if (!span.isRecording()) return;
    const code = ended?.code ?? 0;
    span.setAttribute(ATTR_RPC_STATUS_CODE, String(code));
    if (code !== 0) span.setStatus({ code: SpanStatusCode.ERROR, message: ended?.details ?? '' });
    span.end();
  };

const callOf = (path: string) => ({
  name: `grpc.${path.slice(1)}`,
  attributes: { [ATTR_RPC_SYSTEM_NAME]: 'grpc', [ATTR_RPC_METHOD]: path.slice(1) },
});

/** Opens the span of a call to another agent; its trace goes with the call. */
export function callSpan(path: string, metadata: Metadata): EndSpan {
  const { name, attributes } = callOf(path);
  const span = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes });
  propagation.inject(trace.setSpan(context.active(), span), metadata, toMetadata);
  const end = endOf(span);
  const startedMs = performance.now();
  let isOver = false;
  return (ended) => {
    end(ended);
    if (isOver) return;
    isOver = true;
    const labels = { ...attributes, [ATTR_RPC_STATUS_CODE]: String(ended?.code ?? 0) };
    measure('rpcClient', (performance.now() - startedMs) / 1_000, labels);
  };
}

/** Ends a call's span with its stream. */
export function endWithStream(end: EndSpan, stream: Pick<EventEmitter, 'on'>): void {
  stream.on(errorMonitor, end);
  stream.on('status', end);
}

/** What a server has of a call. */
export interface AnsweredCall {
  readonly metadata: Metadata;
  getPath(): string;
}

/** Answers a call below the span of it that its caller has opened. `end` is for one whose end its own events do not tell. */
export function servedWithin(call: AnsweredCall, answer: (end: EndSpan) => void): void {
  const { name, attributes } = callOf(call.getPath());
  const caller = propagation.extract(ROOT_CONTEXT, call.metadata, fromMetadata);
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, caller);
  context.with(trace.setSpan(caller, span), () => answer(endOf(span)));
}

/** The trace that a line of the log belongs to. */
export function traceFields(): object {
  const found = trace.getActiveSpan()?.spanContext();
  return found !== undefined && isSpanContextValid(found) ? { trace_id: found.traceId, span_id: found.spanId } : {};
}

/** QEMU's times are microseconds since 1970, which a number of milliseconds would round. */
export const timeOf = (us: number): HrTime => [Math.floor(us / 1e6), Math.round((us % 1e6) * 1e3)];

/** The active span, for a job's record: an agent that finds the job goes on in its trace. */
export function traceparentNow(): { traceparent?: string } {
  const carrier: { traceparent?: string } = {};
  propagation.inject(context.active(), carrier);
  return carrier.traceparent === undefined ? {} : { traceparent: carrier.traceparent };
}

/** The context of a span that a job's record names. */
export const contextOf = (traceparent: string): Context => propagation.extract(ROOT_CONTEXT, { traceparent });
