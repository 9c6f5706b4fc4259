import { channel } from 'node:diagnostics_channel';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';

/** How long a reply may take at most, ms, whatever the client was built with: callers are told within about a second. */
export const replyMsMax = 1000;

/** Calls back once, after that many milliseconds; disposing of it calls that off. */
type After = (ms: number, fn: () => void) => Disposable;

const machineAfter: After = (ms, fn) => {
  const timer = setTimeout(fn, ms);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
};

/** The face of a package's scripts: its tracer, its channel and its errors. */
export interface ScriptCallsOptions {
  readonly tracer: string;
  /** The diagnostics channel on which each call is told when it is over: the script's name, how long it took in seconds, and the kind of error if it failed. */
  readonly channel: string;
  /** An error of the package's: Redis cannot be asked, or its answer is not understood. */
  readonly failure: (what: 'unavailable' | 'reply', message: string, options?: ErrorOptions) => Error;
  /** The kind of an error of the package's; undefined for any other. */
  readonly kindOf: (error: unknown) => string | undefined;
}

export interface ScriptCalls {
  /**
   * One script call: its span, its bound, and one kind of error for whatever goes wrong. A call that we gave up on may still take effect: whoever gets no
   * answer asks again, and every script tolerates being run late or twice. Throws the signal's reason, or `failure`.
   */
  readonly call: <T>(name: string, send: () => Promise<T>, signal: AbortSignal, after?: After) => Promise<T>;
  /** A reply as words: a list of texts with a word that we know in front. Throws `failure` of kind reply. */
  readonly wordsOf: <W extends string>(reply: unknown, name: string, known: readonly W[]) => [W, ...string[]];
}

/** What Redis says while it cannot serve for a time, rather than because we asked for nonsense. */
const passing =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|OOM|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM)\b/;

/** The one way in which scripts are called. */
export function scriptCalls({ tracer: tracerName, channel: told, failure, kindOf }: ScriptCallsOptions): ScriptCalls {
  const tracer = trace.getTracer(tracerName);
  const over = channel(told);
  const meaningOf = (error: unknown, name: string): unknown => {
    if (kindOf(error) !== undefined || !(error instanceof Error)) return error;
    const refused = error.name === 'ReplyError' && !passing.test(error.message);
    if (refused) return failure('reply', `Redis refused ${name}: ${error.message}`, { cause: error });
    return failure('unavailable', `Redis cannot be asked (${name}): ${error.message}`, { cause: error });
  };
  return {
    async call(name, send, signal, after = machineAfter) {
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
            late.reject(failure('unavailable', `Redis did not answer ${name} within ${replyMsMax} ms`));
          // A process that had no processor finds its timers over before it has read what came in time: sockets are looked at between two timers.
          let bound = after(replyMsMax, () => {
            bound = after(0, tooLate);
          });
          try {
            const sent = send();
            sent.catch(() => {}); // When it loses the race, nobody else listens to it.
            return await Promise.race([sent, late.promise]);
          } catch (error) {
            const meaning = signal.aborted ? signal.reason : meaningOf(error, name);
            span.setStatus({ code: SpanStatusCode.ERROR, message: String(meaning) });
            kind = kindOf(meaning) ?? 'cancelled';
            throw meaning;
          } finally {
            bound[Symbol.dispose]();
            signal.removeEventListener('abort', aborted);
            span.end();
            if (over.hasSubscribers)
              over.publish({ name, seconds: (performance.now() - startedMs) / 1_000, error: kind });
          }
        },
      );
    },
    wordsOf(reply, name, known) {
      if (Array.isArray(reply)) {
        const [first, ...rest]: unknown[] = reply;
        const word = known.find((each) => each === first);
        if (word !== undefined) return [word, ...rest.map((each) => (typeof each === 'string' ? each : ''))];
      }
      throw failure('reply', `Redis answered ${name} with ${JSON.stringify(reply)?.slice(0, 200)}`);
    },
  };
}
