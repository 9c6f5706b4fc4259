/** gRPC calls as promises and async iterables, from the generated service definitions. */
import { type CallOptions, type Client, Metadata, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';

/** One request, one response. Throws the ServiceError, or `signal.reason` if the caller gave up. */
export function call<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response>,
  request: Request,
  signal: AbortSignal,
  options: Partial<CallOptions> = {},
): Promise<Response> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const done = (error: ServiceError | null, response?: Response) => {
      signal.removeEventListener('abort', cancel);
      // An answer that is there counts, also when the caller gave up in the same moment.
      if (response !== undefined) resolve(response);
      else reject(signal.aborted ? signal.reason : error);
    };
    const { path, requestSerialize, responseDeserialize } = method;
    const running = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      new Metadata(),
      options,
      done,
    );
    const cancel = () => running.cancel();
    signal.addEventListener('abort', cancel, { once: true });
  });
}

/** One request, a stream of responses, which is cancelled when the loop is left. Throws as `call` does. */
export async function* stream<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response>,
  request: Request,
  signal: AbortSignal,
  options: Partial<CallOptions> = {},
): AsyncGenerator<Response, void, undefined> {
  signal.throwIfAborted();
  const { path, requestSerialize, responseDeserialize } = method;
  const running = client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    new Metadata(),
    options,
  );
  // Also when nobody iterates any more: an error without a listener would end the process.
  running.on('error', () => undefined);
  const cancel = () => running.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    for await (const response of running) yield response;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', cancel);
    running.cancel();
  }
}
