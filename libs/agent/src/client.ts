import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@ferry/migration';
import { call, type CallSettings, formatHostPort, isLoopback, type Method, parseHostPort, stream } from '@ferry/rpc';
import { type ChannelCredentials, Client, type ClientOptions, Metadata } from '@grpc/grpc-js';
import { connectionOptions } from './limits.ts';
import { isUnconnected } from './reach.ts';
import { type Credentials, serverNameOf } from './tls.ts';
import { callSpan, endWithStream } from './tracing.ts';

type ClientClass<C extends Client> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: ClientOptions,
) => C;

const clientOptions: ClientOptions = {
  ...connectionOptions,
  // Nobody looks at channelz, and keeping it up to date takes time. A server needs it: grpc-js 1.14.7 without it forgets its connections,
  // and forceShutdown cuts off nobody.
  'grpc.enable_channelz': 0,
  // gRPC's own retries would hide from us what happened, and keep copies of all requests.
  'grpc.enable_retries': 0,
  // Neither DNS TXT records nor a proxy from the environment may change whom we talk to.
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
};

/**
 * A client of the agent at HOST:PORT; of a generated class, or a plain one for `invoke` and `follow`. Connects with the first call, or
 * with `warm`. The caller closes it. Throws MigrationError invalid-request.
 */
export function dial(address: string, credentials: Credentials): Client;
export function dial<C extends Client>(address: string, credentials: Credentials, of: ClientClass<C>): C;
export function dial(address: string, credentials: Credentials, of: ClientClass<Client> = Client): Client {
  const target = parseHostPort(address);
  if (target === undefined || target.port === 0) {
    throw new MigrationError(
      'invalid-request',
      `${JSON.stringify(address.slice(0, 100))} is no agent's address: give HOST:PORT`,
    );
  }
  if (credentials.insecure && !isLoopback(target.host)) {
    throw new MigrationError('invalid-request', `${address} cannot be called without TLS: only agents on loopback can`);
  }
  const serverName = credentials.insecure ? undefined : serverNameOf(target.host);
  const options = serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName };
  return new of(`dns:${formatHostPort(target)}`, credentials.client, { ...clientOptions, ...options });
}

export type InvokeOptions = Pick<CallSettings, 'deadline' | 'waitForReady'>;

/**
 * One unary call, as a promise: `await invoke(client, DestAgentService.prepare, request, signal)`. Throws gRPC's ServiceError, whose
 * `failureFromWire` says what the other agent reported; or the signal's reason, and then the other agent has been told that we hung up.
 */
export function invoke<Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
  signal: AbortSignal,
  options: InvokeOptions = {},
): Promise<Response> {
  const span = method.path === healthCheck.path ? undefined : callSpan;
  return call(client, method, request, signal, { ...options, span });
}

/** How often a call is made again, and the pause before. */
const repeatsMax = 3;
const repeatAfterMs = 100;
/** gRPC's words where nobody was connected to: then who is called is not there. */
const nobody = /No connection established|Name resolution failed/;

/**
 * Likewise, of a method that gives the same answer when it is repeated: a connection that broke off before the answer came, or was given up by a
 * process that had no processor, is no answer. Throws as `invoke` does.
 */
export async function invokeAgain<Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
  signal: AbortSignal,
): Promise<Response> {
  for (let left = repeatsMax; ; left -= 1) {
    try {
      return await invoke(client, method, request, signal);
    } catch (error) {
      if (left === 0 || signal.aborted || !isUnconnected(error) || nobody.test(error.message)) throw error;
      await delay(repeatAfterMs, undefined, { signal });
    }
  }
}

/** A call that was opened ahead of its request. */
export interface StandingBy<Message, Reply> {
  /** False once the call has broken off: another way must be taken then. */
  readonly usable: boolean;
  /**
   * Asks so many times, or, without a number, again and again until the request is sent: what has not run for a while runs slowly for the first times (after a
   * pause of 100 ms a call takes three times as long as before it), and the guest shall not wait for that.
   */
  warmUp(question: Message, times?: number): void;
  /** Sends the request, once, and waits for the answer. Throws as `invoke` does. */
  ask(request: Message, signal: AbortSignal): Promise<Reply>;
}

/** Between two questions: often enough to stay warm, seldom enough to leave the processors to QEMU. */
const warmUpMs = 1;
/** Nobody's switchover takes so long; then it is no use to stay warm. */
const questionsMax = 2_000;

/** Clients of which a call asks right now: one that keeps a connection warm keeps it warm for all. */
const warming = new WeakSet<Client>();

/** Opens a call whose one request is sent later, so that nothing but the request itself is to be sent then. */
export function standBy<Message, Reply>(
  client: Client,
  method: Method<Message, Reply>,
  isAnswer: (reply: Reply) => boolean,
): StandingBy<Message, Reply> {
  const answer = Promise.withResolvers<Reply>();
  answer.promise.catch(() => {}); // Nobody listens before the request is sent.
  const { path, requestSerialize, responseDeserialize } = method;
  const metadata = new Metadata();
  const end = callSpan(path, metadata);
  const opened = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
  endWithStream(end, opened);
  let usable = true;
  let question: Message | undefined;
  let left = questionsMax;
  const rest = (): void => {
    if (question !== undefined) warming.delete(client);
    question = undefined;
  };
  const askAgain = (): void => {
    if (question !== undefined && usable && left-- > 0) opened.write(question);
    else rest();
  };
  const over = (reason: unknown): void => {
    usable = false;
    rest();
    answer.reject(reason);
  };
  opened.on('data', (reply: Reply) => {
    if (isAnswer(reply)) answer.resolve(reply);
    else setTimeout(askAgain, warmUpMs);
  });
  opened.on('error', over);
  opened.once('end', () => over(new TypeError(`${path} answered nothing`)));
  return {
    get usable() {
      return usable;
    },
    warmUp: (message, times = questionsMax) => {
      if (question === undefined && warming.has(client)) return;
      warming.add(client);
      question = message;
      left = times;
      askAgain();
    },
    ask: async (request, signal) => {
      signal.throwIfAborted();
      rest();
      const hangUp = (): void => {
        answer.reject(signal.reason);
        opened.cancel();
      };
      signal.addEventListener('abort', hangUp, { once: true });
      opened.write(request);
      opened.end();
      try {
        return await answer.promise;
      } finally {
        signal.removeEventListener('abort', hangUp);
      }
    },
  };
}

/**
 * A server stream: `for await (const event of follow(client, SourceAgentService.migrate, request, signal))`. Leaving the loop hangs
 * up. Reads only as fast as it is read from. Throws as `invoke` does.
 */
export const follow = <Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
  signal: AbortSignal,
  options: InvokeOptions = {},
): AsyncGenerator<Response, void, undefined> => stream(client, method, request, signal, { ...options, span: callSpan });

const bytes = (value: Buffer): Buffer => value;
const healthCheck: Method<Buffer, Buffer> = {
  path: '/grpc.health.v1.Health/Check',
  requestSerialize: bytes,
  responseDeserialize: bytes,
};

/**
 * Connects ahead and makes one round trip, so that the next call costs only itself: TLS alone takes several milliseconds. Shows also that
 * the other agent answers now. Throws gRPC's ServiceError or the signal's reason.
 */
export async function warm(client: Client, signal: AbortSignal): Promise<void> {
  await invoke(client, healthCheck, Buffer.alloc(0), signal, { waitForReady: true });
}
