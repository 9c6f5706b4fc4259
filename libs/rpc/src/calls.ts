/** gRPC calls as promises and async iterables, from the generated service definitions. */
import { errorMonitor } from 'node:events';
import { type Client, Metadata, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';

/** What a call needs of a generated method's definition. */
export type Method<Request, Response> = Pick<
  MethodDefinition<Request, Response>,
  'path' | 'requestSerialize' | 'responseDeserialize'
>;

/** Hears how a call ended. */
type Ended = (status?: { readonly code?: number | null; readonly details?: string | null } | null) => void;

export interface CallSettings {
  /** Milliseconds since 1970. A deadline that we were given ourselves is passed on here. */
  readonly deadline?: number;
  /** Wait for a connection instead of failing when there is none. */
  readonly waitForReady?: boolean;
  /** Opens the call's span, whose trace may go with the call. */
  readonly span?: ((path: string, metadata: Metadata) => Ended) | undefined;
}

const deadlineOf = ({ deadline }: CallSettings): { deadline?: number } => (deadline === undefined ? {} : { deadline });

/** One request, one response. Throws gRPC's ServiceError; or the signal's reason, and then the other end has been told that we hung up. */
export function call<Request, Response>(
  client: Client,
  { path, requestSerialize, responseDeserialize }: Method<Request, Response>,
  request: Request,
  signal: AbortSignal,
  settings: CallSettings = {},
): Promise<Response> {
  if (signal.aborted) return Promise.reject(signal.reason);
  const { promise, resolve, reject } = Promise.withResolvers<Response>();
  const metadata = new Metadata({ waitForReady: settings.waitForReady ?? false });
  const ended = settings.span?.(path, metadata);
  const done = (error: ServiceError | null, response?: Response): void => {
    ended?.(error);
    signal.removeEventListener('abort', hangUp);
    // An answer that is there counts, even if we gave up waiting for it in the same moment.
    if (response !== undefined) resolve(response);
    else if (signal.aborted) reject(signal.reason);
    else reject(error ?? new TypeError(`${path} ended with neither an answer nor an error`));
  };
  const options = deadlineOf(settings);
  const running = client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    metadata,
    options,
    done,
  );
  // An answer that lies in the socket, of a process that had no processor for longer than its limit, is read before a second timer is over.
  const hangUp = (): void => void setTimeout(() => running.cancel(), 0);
  signal.addEventListener('abort', hangUp, { once: true });
  return promise;
}

/** One request, a stream of responses, read only as fast as it is read from. Leaving the loop hangs up. Throws as `call` does. */
export async function* stream<Request, Response>(
  client: Client,
  { path, requestSerialize, responseDeserialize }: Method<Request, Response>,
  request: Request,
  signal: AbortSignal,
  settings: CallSettings = {},
): AsyncGenerator<Response, void, undefined> {
  signal.throwIfAborted();
  const metadata = new Metadata({ waitForReady: settings.waitForReady ?? false });
  const ended = settings.span?.(path, metadata);
  const running = client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    metadata,
    deadlineOf(settings),
  );
  if (ended !== undefined) running.on(errorMonitor, ended).on('status', ended);
  const hangUp = (): void => running.cancel();
  signal.addEventListener('abort', hangUp, { once: true });
  try {
    const responses: AsyncIterable<Response> = running;
    for await (const response of responses) yield response;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', hangUp);
    // Hanging up by ourselves makes gRPC report CANCELLED to a stream that nobody reads any more.
    running.on('error', () => {});
    running.cancel();
  }
}
