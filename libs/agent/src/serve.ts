import type { Socket } from 'node:net';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { type AuditLog, noAudit } from './audit.ts';
import { authorize, decodingAll } from './authorize.ts';
import type { Side } from '@ferry/migration';
import { formatHostPort, type HostPort } from '@ferry/rpc';
import { BlackoutGate } from './blackout-gate.ts';
import { Callers } from './callers.ts';
import { CallAccounts, type CallLimits, callLimits, limitCalls } from './call-limits.ts';
import { type ConnectionLimits, connectionLimits, Connections } from './connections.ts';
import { Health } from './health.ts';
import { connectionOptions, streamLimits } from './limits.ts';
import { reflectionServices } from './reflection.ts';
import type { ServedService } from './served-service.ts';
import type { Credentials } from './tls.ts';

export type { ServedService } from './served-service.ts';

export interface ServeOptions {
  readonly side: Side;
  readonly listen: HostPort;
  readonly credentials: Credentials;
  /** Calls that are being answered when the server ends have so long to come to their end; the default is 10 000. */
  readonly drainMs?: number;
  readonly limits?: ConnectionLimits & CallLimits;
  /** What is closed while a guest stands still; by default nothing is. */
  readonly gate?: BlackoutGate;
  /** Learns who calls; by default certificates alone say what they may. */
  readonly callers?: Callers;
  readonly audit?: AuditLog;
}

/** A server that takes calls. Ends when disposed of, or when the signal given to `serve` aborts. */
export interface Server extends AsyncDisposable {
  /** HOST:PORT that it listens on, with the real port. */
  readonly address: string;
  /** Settles when the server has ended. */
  readonly ended: Promise<void>;
  /** What health checks are told; `serve` starts with true. */
  setServing(serving: boolean): void;
}

/**
 * Serves the services with standard health and reflection. When the signal aborts, health says NOT_SERVING, no new calls are taken,
 * and those in progress have `drainMs` before they are cut off; `ended` then settles. Throws AgentError config-invalid if the address cannot be had.
 */
export async function serve(
  {
    side,
    listen,
    credentials,
    drainMs = 10_000,
    limits = { ...connectionLimits(), ...callLimits },
    gate = new BlackoutGate(),
    callers = new Callers(),
    audit = noAudit,
  }: ServeOptions,
  services: readonly ServedService[],
  signal: AbortSignal,
): Promise<Server> {
  signal.throwIfAborted();
  const stopping = new AbortController();
  const names = services.map(({ definition }) => serviceName(definition));
  const accounts = new CallAccounts(limits);
  const certificateOf = (peer: string): string => connections.certificateOf(peer);
  const interceptors = [authorize({ side, callers, audit }), limitCalls({ side, accounts, certificateOf, gate })];
  const server = new GrpcServer({ ...connectionOptions, ...streamLimits, interceptors });
  const health = new Health();
  const setServing = (serving: boolean): void => {
    for (const name of ['', ...names]) health.set(name, serving);
  };
  const { definition: healthDefinition, implementation: healthChecks } = health.service(stopping.signal);
  server.addService(healthDefinition, healthChecks);
  for (const { definition, implementation } of [...services, ...reflectionServices(names, stopping.signal)]) {
    server.addService(decodingAll(definition), implementation);
  }
  // Certificates have been verified before gRPC gets a connection.
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const accept = (socket: Socket): void => injector.injectConnection(socket);
  const connections = new Connections({ tls: credentials.server, limits, gate, callers, audit, accept });
  const port = await connections.listen(listen);
  setServing(true);

  const ended = Promise.withResolvers<void>();
  const stop = (): void => {
    if (stopping.signal.aborted) return;
    setServing(false);
    connections[Symbol.dispose]();
    stopping.abort();
    const cutOff = setTimeout(() => server.forceShutdown(), drainMs);
    server.tryShutdown(() => {
      clearTimeout(cutOff);
      ended.resolve();
    });
  };
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  return {
    address: formatHostPort({ host: listen.host, port }),
    ended: ended.promise,
    setServing: (serving) => setServing(serving && !stopping.signal.aborted),
    [Symbol.asyncDispose]: () => {
      signal.removeEventListener('abort', stop);
      stop();
      return ended.promise;
    },
  };
}

/** `ferry.v1.SourceAgent`, from the paths of its methods. */
function serviceName(definition: ServedService['definition']): string {
  const [method] = Object.values(definition);
  return method?.path.split('/')[1] ?? '';
}
