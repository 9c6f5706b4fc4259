/** A destination agent that does what a test says, behind a real server with TLS. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DestAgentClient,
  type DestAgentServer,
  DestAgentService,
  type DestPeerServer,
  DestPeerService,
  type FinishRequest,
  type FinishResponse,
  type PrepareRequest,
  type PrepareResponse,
  type StandByRequest,
  type StandByResponse,
} from '@ferry/proto/ferry/v1/dest_agent';
import type { WatchMigrationRequest, WatchMigrationResponse } from '@ferry/proto/ferry/v1/migration';
import type { BlackoutGate } from '../blackout-gate.ts';
import { type Call, type Edge, edgeOf } from '../call.ts';
import { type CallLimits, callLimits } from '../call-limits.ts';
import { dial } from '../client.ts';
import type { TlsFiles } from '../config.ts';
import { type ConnectionLimits, connectionLimits } from '../connections.ts';
import { openLog } from '../log.ts';
import { serve, type ServeOptions, type Server } from '../serve.ts';
import { type Credentials, openCredentials } from '../tls.ts';
import { makeCertificates } from './certificates.ts';

export interface Behaviour {
  readonly prepare?: (request: PrepareRequest, signal: AbortSignal, call: Call) => Promise<PrepareResponse>;
  readonly finish?: (request: FinishRequest, signal: AbortSignal, call: Call) => Promise<FinishResponse>;
  readonly watch?: (
    request: WatchMigrationRequest,
    signal: AbortSignal,
    call: Call,
  ) => AsyncIterable<WatchMigrationResponse>;
}

export interface TestAgent extends AsyncDisposable {
  readonly server: Server;
  readonly client: DestAgentClient;
  readonly credentials: Credentials;
  /** The same certificate, for a client with a connection of its own. */
  readonly reopen: () => Promise<Credentials>;
  readonly tls: TlsFiles;
  readonly dir: string;
  /** What it has logged, as text. */
  readonly logged: () => string;
  readonly draining: AbortController;
}

export interface TestAgentOptions {
  readonly drainMs?: number;
  readonly host?: string;
  readonly limits?: Partial<ConnectionLimits & CallLimits>;
  readonly gate?: BlackoutGate;
}

/** Starts one on a free port of loopback; ended and its files removed when disposed of. */
export async function startTestAgent(
  behaviour: Behaviour = {},
  { drainMs = 2_000, host = '127.0.0.1', limits: asked = {}, gate }: TestAgentOptions = {},
): Promise<TestAgent> {
  const dir = await mkdtemp(join(tmpdir(), 'ferry-agent-'));
  const tls = await makeCertificates(dir, 'agent', [host]);
  const credentials = await openCredentials(tls);
  const draining = new AbortController();
  const lines: string[] = [];
  const log = openLog('info', { write: (line) => void lines.push(line) });
  const edge = edgeOf({ side: 'dest', log, draining: draining.signal });
  const services = [
    { definition: DestAgentService, implementation: implementationOf(behaviour, edge) },
    { definition: DestPeerService, implementation: peerOf(edge) },
  ];
  const limits = { ...connectionLimits(), ...callLimits, ...asked };
  const options: ServeOptions = {
    side: 'dest',
    listen: { host, port: 0 },
    credentials,
    drainMs,
    limits,
    ...(gate === undefined ? {} : { gate }),
  };
  const server = await serve(options, services, draining.signal);
  const client = dial(server.address, credentials, DestAgentClient);
  return {
    server,
    client,
    credentials,
    reopen: () => openCredentials(tls),
    tls,
    dir,
    draining,
    logged: () => lines.join(''),
    [Symbol.asyncDispose]: async () => {
      client.close();
      draining.abort();
      await server[Symbol.asyncDispose]();
      await rm(dir, { recursive: true });
    },
  };
}

/** Its handlers, of which those that a test does not mind answer with nothing much. */
export function implementationOf(behaviour: Behaviour, { unary, serverStream, standBy }: Edge): DestAgentServer {
  const nothing = async () => ({ migration: undefined });
  return {
    prepare: unary(
      'migration.prepare',
      behaviour.prepare ?? (async () => ({ migrationUri: 'tcp:x:1', cookieOut: none })),
      'prepare',
    ),
    finish: unary('migration.finish', behaviour.finish ?? (async () => finished), 'finish3'),
    standBy: standBy(
      'migration.finish',
      {
        requestIn: ({ request }: StandByRequest) => (request?.$case === 'finish' ? request.value : undefined),
        ready: async (): Promise<StandByResponse> => ({ response: { $case: 'ready', value: {} } }),
        answer: behaviour.finish ?? (async () => finished),
        replyWith: (value) => ({ response: { $case: 'finished', value } }),
      },
      'finish3',
    ),
    getMigration: unary('GetMigration', nothing),
    abortMigration: unary('migration.abort', nothing),
    resolveMigration: unary('migration.resolve', nothing),
    watchMigration: serverStream('WatchMigration', behaviour.watch ?? async function* () {}),
  };
}

const peerOf = ({ unary }: Edge): DestPeerServer => ({
  checkReady: unary('migration.check-ready', async () => ({ receiving: true, host: '', cookieKey: none })),
  ask: unary('handover.ask', async () => ({ answer: 0 })),
});

const none = Buffer.alloc(0);
const finished: FinishResponse = { domain: undefined, cookieOut: none, statistics: undefined };

export const migrationId = '3fa85f64-5717-4562-b3fc-2c963f66afa6';

/** A request that is right. */
export const prepareRequest: PrepareRequest = {
  migrationId,
  protocol: 3,
  domainXml: '<domain/>',
  cookieIn: none,
  migrationUri: '',
  paused: false,
};
export const finishRequest: FinishRequest = {
  migrationId,
  domain: 'web-1',
  protocol: 3,
  cookieIn: none,
  cancelled: false,
};
