import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { AgentError } from './errors.ts';

/** What the two kinds of calls have in common. */
export type ServerCall<Request, Response> =
  | ServerUnaryCall<Request, Response>
  | ServerWritableStream<Request, Response>;

/** A call's signal; disposing of it forgets the call. */
export interface CallSignal extends Disposable {
  readonly signal: AbortSignal;
}

/** setTimeout takes no more. */
const timerMsMax = 2 ** 31 - 1;

/**
 * Aborts when the client hangs up, its deadline passes, or `draining` aborts; the reason is an AgentError that says which. One controller
 * and plain listeners: AbortSignal.any would hold on to `draining` from every call there ever was.
 */
export function signalOf(call: ServerCall<unknown, unknown>, draining: AbortSignal): CallSignal {
  const controller = new AbortController();
  const deadlineMs = Number(call.getDeadline());
  const deadline = (): void => controller.abort(new AgentError('deadline-exceeded', 'the deadline of the call passed'));
  const hungUp = (): void => {
    if (Date.now() >= deadlineMs) deadline();
    else controller.abort(new AgentError('cancelled', 'the caller hung up'));
  };
  const drain = (): void => controller.abort(new AgentError('draining', 'this agent is about to end; call again'));

  const leftMs = deadlineMs - Date.now();
  const timer = leftMs <= timerMsMax ? setTimeout(deadline, Math.max(0, leftMs)) : undefined;
  call.once('cancelled', hungUp);
  draining.addEventListener('abort', drain, { once: true });
  if (call.cancelled) hungUp();
  else if (draining.aborted) drain();
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      call.removeListener('cancelled', hungUp);
      draining.removeEventListener('abort', drain);
    },
  };
}
