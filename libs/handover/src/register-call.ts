import { channel } from 'node:diagnostics_channel';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { HandoverError } from './errors.ts';

const tracer = trace.getTracer('@ferry/handover');

/** The diagnostics channel on which each call is told when it is over: the script's name, how long it took in seconds, and the kind of error if it failed. */
export const registerCalls = 'ferry.redis.register_script';
const over = channel(registerCalls);

/** How long a reply may take at most, ms, whatever the client was built with: callers are told within about a second. */
const replyMsMax = 1000;

/**
 * One script call: its span, its bound, and one kind of error for whatever goes wrong. A call that we gave up on may still take
 * effect, as the model assumes of every reply: whoever gets no answer asks again, and never supposes one.
 *
 * Throws the signal's reason, or HandoverError register-unavailable | register-reply.
 */
export async function registerCall(name: string, send: () => Promise<unknown>, signal: AbortSignal): Promise<unknown> {
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
        late.reject(new HandoverError('register-unavailable', `Redis did not answer ${name} within ${replyMsMax} ms`));
      // A process that had no processor finds its timers over before it has read what came in time: sockets are looked at between two timers.
      let bound = setTimeout(() => {
        bound = setTimeout(tooLate, 0);
      }, replyMsMax);
      try {
        const sent = send();
        sent.catch(() => {}); // When it loses the race, nobody else listens to it.
        return await Promise.race([sent, late.promise]);
      } catch (error) {
        const failure = signal.aborted ? signal.reason : meaningOf(error, name);
        span.setStatus({ code: SpanStatusCode.ERROR, message: String(failure) });
        kind = failure instanceof HandoverError ? failure.kind : 'cancelled';
        throw failure;
      } finally {
        clearTimeout(bound);
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
  if (error instanceof HandoverError || !(error instanceof Error)) return error;
  const refused = error.name === 'ReplyError' && !passing.test(error.message);
  if (refused) return new HandoverError('register-reply', `Redis refused ${name}: ${error.message}`, { cause: error });
  return new HandoverError('register-unavailable', `Redis cannot be asked (${name}): ${error.message}`, {
    cause: error,
  });
}

/** A reply as words: a list of texts with a word that we know in front. Throws HandoverError register-reply. */
export function wordsOf<W extends string>(reply: unknown, name: string, known: readonly W[]): [W, ...string[]] {
  if (Array.isArray(reply)) {
    const [first, ...rest]: unknown[] = reply;
    const word = known.find((each) => each === first);
    if (word !== undefined) return [word, ...rest.map((each) => (typeof each === 'string' ? each : ''))];
  }
  throw new HandoverError('register-reply', `Redis answered ${name} with ${JSON.stringify(reply)?.slice(0, 200)}`);
}
