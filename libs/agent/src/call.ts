/** The one wrapper around every handler: span, log, the call's signal, and errors as gRPC has them. */
import { type EventEmitter, errorMonitor } from 'node:events';
import { MigrationError, type Phase, type Side } from '@ferry/migration';
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { type Attributes, context as traceContext, type Span, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  ATTR_ERROR_TYPE,
  ATTR_RPC_METHOD,
  ATTR_RPC_STATUS_CODE,
  ATTR_RPC_SYSTEM_NAME,
} from '@opentelemetry/semantic-conventions';
import type { Failure } from '@ferry/proto/ferry/v1/migration';
import { type CallFailure, toStatus, type Where } from '@ferry/rpc';
import { type Caller, onBehalfOf } from './callers.ts';
import { type DomainLookUp, domainRuleOf, refuseOtherDomains } from './domain-rules.ts';
import { type Log, type LogFields, logOf } from './log.ts';
import { measure } from './metrics.ts';
import { type ServerCall, signalOf } from './signal-of.ts';
import { type AnsweredCall, servedWithin } from './tracing.ts';

/** What a handler gets besides the request and the signal. */
export interface Call {
  /** A log whose lines carry migrationId, domain, side and phase. */
  log(): Log;
  /** Named after the protocol, `migration.prepare` say; a handler may add attributes. */
  readonly span: Span;
  /** Milliseconds since 1970; Infinity if the caller set none. To be passed on to calls made on its behalf. */
  readonly deadline: number;
  /** gRPC's own, for the peer's address and certificate. */
  readonly grpc: ServerCall<unknown, unknown>;
}

/** What all handlers of an agent have in common. */
export interface EdgeOptions {
  readonly side: Side;
  readonly log: Log;
  /** Aborts when calls shall end because this agent does. */
  readonly draining: AbortSignal;
  /** Who is at the other end of a connection, and for which domains they may call; if not given, it is not known and for all. */
  readonly access?: { readonly callers: { of(peer: string): Caller }; readonly domains: DomainLookUp };
}

/** The phase a call is about, where there is one; it may depend on the request (protocol v2 or v3, cancelled or not). */
export type PhaseOf<Request> = Phase | ((request: Request) => Phase | undefined);

export interface Edge {
  /** A unary handler. `name` names the span after the protocol: `migration.prepare`. */
  readonly unary: <Request, Response>(
    name: string,
    answer: (request: Request, signal: AbortSignal, call: Call) => Promise<Response>,
    phase?: PhaseOf<Request>,
  ) => handleUnaryCall<Request, Response>;
  /** A handler that answers with a stream: as fast as the client reads, until it hangs up. */
  readonly serverStream: <Request, Response>(
    name: string,
    answer: (request: Request, signal: AbortSignal, call: Call) => AsyncIterable<Response>,
    phase?: PhaseOf<Request>,
    /** What the call was for has failed, as this response says: an error in trace, metric and log, although the call itself ends in good order. */
    failureIn?: (response: Response) => Failure | undefined,
  ) => handleServerStreamingCall<Request, Response>;
  /** A handler of a call that was opened ahead of its request: the answer to the request ends it. */
  readonly standBy: <Message, Reply, Request, Response>(
    name: string,
    parts: StandByParts<Message, Reply, Request, Response>,
    phase?: PhaseOf<Request>,
  ) => handleBidiStreamingCall<Message, Reply>;
}

/** What a call that stands by is made of. */
export interface StandByParts<Message, Reply, Request, Response> {
  /** The request in a message; undefined if the driver only asks whether we are ready. */
  readonly requestIn: (message: Message) => Request | undefined;
  readonly ready: (message: Message) => Promise<Reply>;
  readonly answer: (request: Request, signal: AbortSignal, call: Call) => Promise<Response>;
  readonly replyWith: (response: Response) => Reply;
}

const tracer = trace.getTracer('@ferry/agent');

/** The wrappers of one agent's handlers. */
export function edgeOf(options: EdgeOptions): Edge {
  return {
    unary: (name, answer, phase) => (call, callback) =>
      servedWithin(call, (end) => {
        const tell = (failure: CallFailure): void => {
          end(failure);
          callback(failure);
        };
        const run: Run<typeof call.request> = async (request, signal, context) => {
          const response = await answer(request, signal, context);
          end();
          callback(null, response);
        };
        void handle(options, name, call, phase, run, tell);
      }),
    serverStream: (name, answer, phase, failureIn) =>
      streaming((call) => {
        const run: Run<typeof call.request> = async (request, signal, context) => {
          let failed: Failure | undefined;
          const look = (response: Parameters<NonNullable<typeof failureIn>>[0]): void => {
            failed = failureIn?.(response) ?? failed;
          };
          await pump(answer(request, signal, context), call, signal, look);
          call.end();
          return failed;
        };
        void handle(options, name, call, phase, run, (failure) => call.emit('error', failure));
      }),
    standBy: (name, parts, phase) =>
      streaming((call) => {
        const leave = (): void => void call.end();
        const forget = (): void => {
          options.draining.removeEventListener('abort', leave);
          call.removeListener('end', leave).removeListener('data', heard);
        };
        const tell = (failure: CallFailure): void => void call.emit('error', failure);
        // A listener runs in the context of whoever emits; the request's trace is the one that the call was opened in.
        const heard = traceContext.bind(traceContext.active(), (message: Parameters<typeof parts.requestIn>[0]) => {
          const request = parts.requestIn(message);
          if (request === undefined) {
            const allowed = refuseByRule(options, call, message, options.draining) ?? Promise.resolve();
            allowed
              .then(() => parts.ready(message))
              .then(
                (reply) => call.write(reply),
                (error: unknown) => tell(toStatus(error, { side: options.side })),
              );
            return;
          }
          forget();
          const run: Run<typeof request> = async (_request, signal, within) => {
            call.write(parts.replyWith(await parts.answer(request, signal, within)));
            call.end();
          };
          void handle(options, name, Object.assign(call, { request }), phase, run, tell);
        });
        options.draining.addEventListener('abort', leave, { once: true });
        call.on('data', heard).once('end', leave).once('cancelled', forget);
      }),
  };
}

/** Within its caller's trace; the span of a stream ends with it. */
const streaming =
  <C extends AnsweredCall & Pick<EventEmitter, 'on'>>(answer: (call: C) => void): ((call: C) => void) =>
  (call) =>
    servedWithin(call, (end) => {
      call.on('finish', () => end());
      call.on(errorMonitor, end);
      answer(call);
    });

/** Answers a call. */
type Run<Request> = (request: Request, signal: AbortSignal, call: Call) => Promise<Failure | undefined | void>;

/** Runs a handler and tells the caller if it failed. Never rejects. */
async function handle<Request, Response>(
  options: EdgeOptions,
  name: string,
  call: ServerCall<Request, Response> & { readonly request: Request },
  phaseOf: PhaseOf<Request> | undefined,
  run: Run<Request>,
  tell: (failure: CallFailure) => void,
): Promise<void> {
  const { side, log, draining, access } = options;
  const startedMs = performance.now();
  await tracer.startActiveSpan(name, async (span) => {
    using ending = signalOf(call, draining);
    let where: Where = { side };
    let about: Subject = {};
    // Made when somebody logs: a child of a log takes time that is better spent on answering.
    let lines: Log | undefined;
    const lineLog = (): Log => (lines ??= logOf(log, fieldsOf(where, about)));
    let failure: CallFailure | undefined;
    let cause: unknown;
    let reported: Failure | undefined;
    try {
      const { request } = call;
      where = { side, phase: typeof phaseOf === 'function' ? phaseOf(request) : phaseOf };
      about = subjectOf(request);
      span.setAttributes(attributesOf(where, about));
      ending.signal.throwIfAborted();
      const deadline = Number(call.getDeadline());
      const refusing = refuseByRule(options, call, request, ending.signal);
      if (refusing !== undefined) await refusing;
      const caller = access?.callers.of(call.getPeer());
      const within = { log: lineLog, span, deadline, grpc: call };
      reported = (await onBehalfOf(caller, () => run(request, ending.signal, within))) ?? undefined;
      if (reported !== undefined) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: reported.message });
        span.setAttribute('ferry.reason', reported.reason);
      }
    } catch (error) {
      cause = error;
      failure = toStatus(error, where, about.migrationId === undefined ? {} : { migration_id: about.migrationId });
      span.setStatus({ code: SpanStatusCode.ERROR, message: failure.details });
      span.setAttribute('ferry.reason', failure.reason);
      tell(failure);
    }
    span.end();
    const tookMs = performance.now() - startedMs;
    // The answer is written to the socket in the next turns of the event loop, and nothing here is worth the caller's waiting for.
    setTimeout(() => {
      const done = { call: name, tookMs: Math.round(tookMs * 1_000) / 1_000 };
      if (reported === undefined) report(lineLog(), done, cause, failure);
      else lineLog().warn({ ...done, reason: reported.reason, failure: reported.message }, 'failed');
      const errorType = failure?.reason ?? reported?.reason;
      measure('rpcServer', tookMs / 1_000, {
        [ATTR_RPC_SYSTEM_NAME]: 'grpc',
        [ATTR_RPC_METHOD]: call.getPath().slice(1),
        [ATTR_RPC_STATUS_CODE]: String(failure?.code ?? 0),
        ...(errorType === undefined ? {} : { [ATTR_ERROR_TYPE]: errorType }),
      });
    }, reportAfterMs);
  });
}

/** Undefined, without waiting, for those who may call for all domains. Rejects with AgentError not-allowed. */
function refuseByRule(
  { access }: EdgeOptions,
  call: Pick<ServerCall<unknown, unknown>, 'getPath' | 'getPeer'>,
  request: unknown,
  signal: AbortSignal,
): Promise<void> | undefined {
  if (access === undefined) return undefined;
  const path = call.getPath();
  const rule = domainRuleOf(access.callers.of(call.getPeer()), path);
  return rule && refuseOtherDomains(rule, path, request, access.domains, signal);
}

/** Enough turns of the event loop. */
const reportAfterMs = 2;

const fieldsOf = ({ side, phase }: Where, about: Subject): LogFields =>
  phase === undefined ? { ...about, side } : { ...about, side, phase };

/** An error is logged once, here. One that nobody foresaw is our bug; the others tell the caller something. */
function report(
  log: Log,
  done: { call: string; tookMs: number },
  cause: unknown,
  failure: CallFailure | undefined,
): void {
  if (failure === undefined) log.info(done, 'answered');
  else if (failure.logId === undefined) log.warn({ ...done, reason: failure.reason, err: cause }, 'refused');
  else log.error({ ...done, reason: failure.reason, logId: failure.logId, err: cause }, 'unforeseen error');
}

interface Subject {
  readonly migrationId?: string;
  readonly domain?: string;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const domainCharsMax = 255;

/**
 * Which migration and domain a request is about. Every call that names a migration names it by a UUID in lower case, so that one migration
 * has one key. Throws MigrationError invalid-request.
 */
function subjectOf(request: unknown): Subject {
  if (typeof request !== 'object' || request === null) return {};
  const { migrationId, domain } = { migrationId: undefined, domain: undefined, ...request };
  return { ...migrationIn(migrationId), ...domainIn(domain) };
}

function migrationIn(migrationId: unknown): Subject {
  if (typeof migrationId !== 'string') return {};
  if (uuid.test(migrationId)) return { migrationId };
  throw new MigrationError(
    'invalid-request',
    `migration_id must be a UUID in lower case, not ${JSON.stringify(migrationId.slice(0, 60))}: choose one for each migration`,
  );
}

function domainIn(domain: unknown): Subject {
  if (typeof domain !== 'string') return {};
  if (domain === '' || domain.length > domainCharsMax || /[\p{C}\p{Zl}\p{Zp}]/u.test(domain)) {
    throw new MigrationError(
      'invalid-request',
      `domain must be a UUID or a name of at most ${domainCharsMax} characters`,
    );
  }
  return { domain };
}

function attributesOf({ side, phase }: Where, { migrationId, domain }: Subject): Attributes {
  return {
    'ferry.side': side,
    ...(phase === undefined ? {} : { 'ferry.phase': phase }),
    ...(migrationId === undefined ? {} : { 'ferry.migration_id': migrationId }),
    ...(domain === undefined ? {} : { 'ferry.domain': domain }),
  };
}

/** Writes as fast as the client reads. Throws the signal's reason, also when the responses themselves do not heed it. */
async function pump<Response>(
  responses: AsyncIterable<Response>,
  call: ServerWritableStream<unknown, Response>,
  signal: AbortSignal,
  look: (response: Response) => void,
): Promise<void> {
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => {}); // Nobody listens between two races.
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  const iterator = responses[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted.promise]);
      if (next.done === true) return;
      signal.throwIfAborted();
      look(next.value);
      if (!call.write(next.value)) await Promise.race([drained(call), aborted.promise]);
    }
  } finally {
    signal.removeEventListener('abort', abort);
    // Not awaited: it waits for a pending next(), which may never come.
    iterator.return?.().catch(() => {});
  }
}

const drained = (call: ServerWritableStream<unknown, unknown>): Promise<void> =>
  new Promise((resolve) => {
    call.once('drain', resolve);
  });
