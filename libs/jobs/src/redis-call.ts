import { channel } from 'node:diagnostics_channel';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Clock } from './clock.ts';
import { JobError } from './errors.ts';

const tracer = trace.getTracer('@ferry/jobs');

/** The diagnostics channel on which each call is told when it is over: the script's name, how long it took in seconds, and the kind of error if it failed. */
export const redisCalls = 'ferry.redis.job_script';
const over = channel(redisCalls);

/** How long a reply may take at most, ms, whatever the client was built with: callers are told within about a second. */
export const replyMsMax = 1000;

/**
 * One script call: its span, its bound, and one kind of error for whatever goes wrong. The call may still take effect after we
 * have given up on it, so every script must bear being run late or twice.
 *
 * Throws the signal's reason, or JobError redis-unavailable | redis-reply.
 */
export async function redisCall<T>(
  clock: Clock,
  name: string,
  send: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  signal.throwIfAborted();
  return tracer.startActiveSpan(
    `redis ${name}`,
    { kind: SpanKind.CLIENT, attributes: { 'db.system.name': 'redis', 'db.operation.name': name } },
    async (span) => {
      const startedMs = performance.now();
      let kind: string | undefined;
      const late = Promise.withResolvers<never>();
      const aborted = () => late.reject(signal.reason);
      signal.addEventListener('abort', aborted, { once: true });
      const tooLate = (): void =>
        late.reject(new JobError('redis-unavailable', `Redis did not answer ${name} within ${replyMsMax} ms`));
      // A process that had no processor finds its timers over before it has read what came in time: sockets are looked at between two timers.
      let bound = clock.after(replyMsMax, () => {
        bound = clock.after(0, tooLate);
      });
      try {
        const sent = send();
        sent.catch(() => {}); // When it loses the race, nobody else listens to it.
        return await Promise.race([sent, late.promise]);
      } catch (error) {
        const failure = signal.aborted ? signal.reason : meaningOf(error, name);
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(failure) });
        kind = failure instanceof JobError ? failure.kind : 'cancelled';
        throw failure;
      } finally {
        bound[Symbol.dispose]();
        signal.removeEventListener('abort', aborted);
        span.end();
        if (over.hasSubscribers) over.publish({ name, seconds: (performance.now() - startedMs) / 1_000, error: kind });
      }
    },
  );
}

/** What Redis says while it cannot serve for a time, rather than because we asked for nonsense. */
const passing =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|OOM|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM)\b/;

function meaningOf(error: unknown, name: string): unknown {
  if (error instanceof JobError || !(error instanceof Error)) return error;
  const refused = error.name === 'ReplyError' && !passing.test(error.message);
  if (refused) return new JobError('redis-reply', `Redis refused ${name}: ${error.message}`, { cause: error });
  return new JobError('redis-unavailable', `Redis cannot be asked (${name}): ${error.message}`, { cause: error });
}

/** A reply as words: a list of texts with a word that we know in front. Throws JobError redis-reply. */
export function wordsOf<W extends string>(reply: unknown, name: string, known: readonly W[]): [W, ...string[]] {
  if (Array.isArray(reply)) {
    const [first, ...rest]: unknown[] = reply;
    const word = known.find((each) => each === first);
    if (word !== undefined) return [word, ...rest.map((each) => (typeof each === 'string' ? each : ''))];
  }
  throw new JobError('redis-reply', `Redis answered ${name} with ${JSON.stringify(reply)?.slice(0, 200)}`);
}
