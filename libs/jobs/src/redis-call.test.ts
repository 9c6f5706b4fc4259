import { type Span, SpanStatusCode, type TracerProvider, trace } from '@opentelemetry/api';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { JobError, systemClock } from './index.ts';
import { redisCall } from './redis-call.ts';

/** Notes the spans that are made; the API without an SDK makes none. */
const spans: { name: string; kind: unknown; ended: boolean; status: unknown }[] = [];
const provider: TracerProvider = {
  getTracer: () => ({
    startSpan: () => trace.wrapSpanContext({ traceId: '', spanId: '', traceFlags: 0 }),
    startActiveSpan(name: string, ...rest: unknown[]) {
      const noted = { name, kind: Object(rest[0]).kind, ended: false, status: undefined as unknown };
      spans.push(noted);
      const span: Span = Object.assign(trace.wrapSpanContext({ traceId: '', spanId: '', traceFlags: 0 }), {
        setStatus(status: unknown) {
          noted.status = status;
          return span;
        },
        end: () => void (noted.ended = true),
      });
      const run = rest.at(-1);
      return typeof run === 'function' ? run(span) : undefined;
    },
  }),
};
beforeAll(() => void trace.setGlobalTracerProvider(provider));
afterAll(() => trace.disable());

it('puts each script call in a span, also one that fails', async () => {
  const never = new AbortController().signal;
  expect(await redisCall(systemClock, 'job-start', async () => 'reply', never)).toBe('reply');
  const failing = redisCall(systemClock, 'job-phase', () => Promise.reject(new JobError('redis-reply', 'odd')), never);
  await expect(failing).rejects.toThrow('odd');
  expect(spans).toMatchObject([
    { name: 'redis job-start', ended: true, status: undefined },
    { name: 'redis job-phase', ended: true, status: { code: SpanStatusCode.ERROR, message: 'JobError: odd' } },
  ]);
});
