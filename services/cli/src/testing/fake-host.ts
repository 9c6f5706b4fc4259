/** A host whose agents answer as a test wants, at the wire: gRPC servers with the generated services, and no Ferry behind them. */
import {
  type DestAgentServer,
  DestAgentService,
  type FinishRequest,
  FinishResponse,
  PrepareResponse,
} from '@ferry/proto/ferry/v1/dest_agent';
import {
  Domain,
  type Finding,
  DomainsService,
  type DomainsServer,
  DomainState,
  type Ownership,
} from '@ferry/proto/ferry/v1/domains';
import {
  type Migration,
  MigrationEvent,
  MigrationStatistics,
  Outcome,
  Phase,
  Side,
} from '@ferry/proto/ferry/v1/migration';
import {
  type ConfirmRequest,
  type MigrateRequest,
  type SourceAgentServer,
  SourceAgentService,
} from '@ferry/proto/ferry/v1/source_agent';
import { ErrorInfo } from '@ferry/proto/google/rpc/error_details';
import { Status } from '@ferry/proto/google/rpc/status';
import {
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServiceError,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js';

/** One call that came in. */
export type Received = readonly [method: string, request: unknown];

type Stream = Pick<
  ServerWritableStream<unknown, { event: MigrationEvent | undefined }>,
  'write' | 'end' | 'emit' | 'on'
>;

/** What a test may change. */
export interface Behaviour {
  domains: Domain[];
  /** Ownership records that are damaged, as Where names them. */
  damaged?: readonly string[];
  /** The ownership record, as Where and Forget tell it; undefined: domain-not-found. */
  owner: Ownership | undefined;
  /** Plays the events of a migration; by default all of a good one. */
  migrate: (stream: Stream) => void;
  watch: (stream: Stream) => void;
  /** What GetMigration answers; undefined: unknown-migration. */
  migration: Migration | undefined;
  history: Migration[];
  /** Likewise, at the destination agent. */
  incoming: Migration | undefined;
  /** Answered when it is done. */
  abort: () => void | Promise<void>;
  /** What Check answers. */
  findings: Finding[];
  /** Thrown by the method of that name. */
  errors: Partial<Record<string, Error>>;
}

/** Starts with one domain, `web-1`, running. */
export class FakeHost implements AsyncDisposable {
  readonly name: string;
  readonly received: Received[] = [];
  readonly does: Behaviour;
  readonly #servers: Server[] = [];
  source = '';
  dest = '';

  private constructor(name: string) {
    this.name = name;
    this.does = {
      domains: [domain()],
      owner: undefined,
      migrate: (stream) => play(stream, goodMigration()),
      watch: (stream) => play(stream, goodMigration()),
      migration: undefined,
      incoming: undefined,
      history: [],
      abort: () => undefined,
      findings: [],
      errors: {},
    };
  }

  static async start(name: string): Promise<FakeHost> {
    const host = new FakeHost(name);
    host.source = await host.#serve((server) => {
      server.addService(SourceAgentService, host.#sourceAgent());
      server.addService(DomainsService, host.#domainsServer());
    });
    host.dest = await host.#serve((server) => server.addService(DestAgentService, host.#destAgent()));
    return host;
  }

  /** The names of the methods that were called, in order. */
  get calls(): string[] {
    return this.received.map(([method]) => method);
  }

  async #serve(add: (server: Server) => void): Promise<string> {
    const server = new Server();
    add(server);
    this.#servers.push(server);
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
    return `127.0.0.1:${await promise}`;
  }

  /** A method that notes what came in and answers, or fails as the test wants. */
  #unary<Request, Response>(
    method: string,
    answer: (request: Request) => Response,
  ): handleUnaryCall<Request, Response> {
    return (incoming, reply) => {
      this.received.push([method, incoming.request]);
      const error = this.does.errors[method];
      if (error !== undefined) return reply(error);
      try {
        reply(null, answer(incoming.request));
      } catch (thrown) {
        reply(thrown as ServiceError);
      }
    };
  }

  #sourceAgent(): SourceAgentServer {
    const cookieOut = Buffer.from('from begin');
    const statistics = MigrationStatistics.fromPartial({
      memoryTransferredBytes: 1_000_000n,
      memoryTotalBytes: 4_000_000n,
    });
    return {
      begin: this.#unary('begin', () => ({ domainXml: '<domain/>', cookieOut })),
      dumpXml: this.#unary('dumpXml', () => ({ domainXml: '<domain/>', paused: false })),
      perform: this.#unary('perform', () => ({ cookieOut: Buffer.from('from perform'), statistics })),
      confirm: this.#unary('confirm', ({ cancelled }: ConfirmRequest) => ({
        outcome: cancelled ? Outcome.OUTCOME_FAILED : Outcome.OUTCOME_COMPLETED,
        statistics,
      })),
      getMigration: (incoming, reply) => {
        this.received.push(['getMigration', incoming.request]);
        if (this.does.migration === undefined)
          reply(failure('unknown-migration', 'no such migration', status.NOT_FOUND));
        else reply(null, { migration: this.does.migration });
      },
      abortMigration: (incoming, reply) => {
        this.received.push(['abortMigration', incoming.request]);
        const error = this.does.errors['abortMigration'];
        if (error !== undefined) return reply(error);
        void Promise.resolve(this.does.abort()).then(() => reply(null, { migration: undefined }));
      },
      resolveMigration: this.#unary('resolveMigration', () => ({ migration: this.does.migration })),
      migrate: (stream) => {
        const request: MigrateRequest = stream.request;
        this.received.push(['migrate', request]);
        const error = this.does.errors['migrate'];
        if (error === undefined) this.does.migrate(stream);
        else stream.emit('error', error);
      },
      watchMigration: (stream) => {
        this.received.push(['watchMigration', stream.request]);
        this.does.watch(stream);
      },
    };
  }

  /** What `ferry` does not call is answered with UNIMPLEMENTED, by gRPC itself. */
  #destAgent(): Pick<DestAgentServer, 'prepare' | 'finish' | 'getMigration' | 'resolveMigration'> {
    const unknown = failure('unknown-migration', 'no such migration', status.NOT_FOUND);
    return {
      getMigration: (_incoming, reply) =>
        this.does.incoming === undefined ? reply(unknown) : reply(null, { migration: this.does.incoming }),
      resolveMigration: this.#unary('resolveIncoming', () => ({ migration: this.does.incoming })),
      prepare: this.#unary('prepare', () =>
        PrepareResponse.fromPartial({ migrationUri: 'tcp:127.0.0.1:49152', cookieOut: Buffer.from('from prepare') }),
      ),
      finish: this.#unary('finish', ({ cancelled }: FinishRequest) =>
        FinishResponse.fromPartial(cancelled ? {} : { domain: domain(), cookieOut: Buffer.from('from finish') }),
      ),
    };
  }

  #domainsServer(): DomainsServer {
    const one = () => ({ domain: this.does.domains[0] });
    return {
      start: this.#unary('start', one),
      adopt: this.#unary('adopt', one),
      list: this.#unary('list', () => ({ domains: this.does.domains })),
      get: this.#unary('get', () => ({ ...one(), domainXml: '<domain/>' })),
      suspend: this.#unary('suspend', one),
      resume: this.#unary('resume', one),
      shutdown: this.#unary('shutdown', one),
      destroy: this.#unary('destroy', () => ({})),
      check: this.#unary('check', () => ({ findings: this.does.findings })),
      where: this.#unary('where', () => ({
        owners: this.does.damaged !== undefined && this.does.owner === undefined ? [] : [this.#owner()],
        damaged: [...(this.does.damaged ?? [])],
      })),
      history: this.#unary('history', () => ({ migrations: this.does.history })),
      forgetHost: this.#unary('forgetHost', () => ({ hostUuid: 'e1d3' })),
      forget: this.#unary('forget', () => ({ ownership: { ...this.#owner(), host: '' } })),
    };
  }

  #owner(): Ownership {
    if (this.does.owner === undefined) throw failure('domain-not-found', 'no record', status.NOT_FOUND);
    return this.does.owner;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.forceShutdown();
  }
}

/** A domain, running unless told otherwise. */
export function domain(more: Partial<Domain> = {}): Domain {
  return Domain.create({
    uuid: '8cf3e799-4b01-4bc4-8353-12e56b725ebc',
    name: 'web-1',
    state: DomainState.DOMAIN_STATE_RUNNING,
    qemuPid: 4711,
    memoryBytes: 268_435_456n,
    vcpus: 1,
    ...more,
  });
}

/** What the record says of that domain. */
export function ownership(host: string, more: Partial<Ownership> = {}): Ownership {
  const { uuid, name } = domain();
  const since = new Date('2026-11-24T04:00:00Z');
  return { uuid, name, host, epoch: 2n, evidence: `started on host ${host}`, since, ...more };
}

/** An error as an agent sends it. */
export function failure(
  reason: string,
  message: string,
  code: status,
  more: Record<string, string> = {},
): Error & { code: status; metadata: Metadata } {
  const info = ErrorInfo.encode({ reason, domain: 'ferry.v1', metadata: more }).finish();
  const details = [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: Buffer.from(info) }];
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(Status.encode({ code, message, details }).finish()));
  return Object.assign(new Error(message), { code, details: message, metadata });
}

/** Sends events and ends the stream. */
export function play(stream: Stream, events: readonly MigrationEvent[]): void {
  for (const event of events) stream.write({ event });
  stream.end();
}

const at = (ms: number): Date => new Date(1_795_399_255_000 + ms);

function phaseEvent(ms: number, side: Side, phase: Phase, tookUs?: number): MigrationEvent {
  return {
    at: at(ms),
    event: { $case: 'phaseChanged', value: { side, phase, done: tookUs !== undefined, tookUs: BigInt(tookUs ?? 0) } },
  };
}

export function endedEvent(ms: number, ended: { outcome: Outcome; reason?: string; message?: string }): MigrationEvent {
  const { outcome, reason, message = 'it is so' } = ended;
  const why =
    reason === undefined
      ? undefined
      : { reason, message, side: Side.SIDE_DEST, phase: Phase.PHASE_PREPARE, retryable: false };
  const statistics = MigrationStatistics.fromPartial({
    memoryTotalBytes: 268_435_456n,
    memoryTransferredBytes: 104_857_600n,
    memoryPasses: 3n,
    blackoutUs: 18_300n,
    controlSourceUs: 600n,
    controlDestUs: 500n,
    qemuTotalMs: 2_310n,
    qemuDowntimeMs: 15n,
  });
  return { at: at(ms), event: { $case: 'ended', value: { outcome, failure: why, statistics } } };
}

/** The events of a v3 migration that goes well. */
export function goodMigration(): MigrationEvent[] {
  const { SIDE_SOURCE, SIDE_DEST } = Side;
  const statistics = MigrationStatistics.fromPartial({
    memoryTotalBytes: 268_435_456n,
    memoryTransferredBytes: 52_428_800n,
    memoryRemainingBytes: 67_108_864n,
    memoryPasses: 2n,
    bytesPerSecond: 104_857_600n,
  });
  return [
    phaseEvent(0, SIDE_SOURCE, Phase.PHASE_BEGIN3),
    phaseEvent(5, SIDE_SOURCE, Phase.PHASE_BEGIN3, 4_570),
    phaseEvent(6, SIDE_DEST, Phase.PHASE_PREPARE),
    phaseEvent(160, SIDE_DEST, Phase.PHASE_PREPARE, 154_000),
    phaseEvent(161, SIDE_SOURCE, Phase.PHASE_PERFORM3),
    { at: at(200), event: { $case: 'progress', value: { qemuStatus: 'active', statistics } } },
    { at: at(400), event: { $case: 'switchover', value: { side: SIDE_SOURCE, atUs: 1n } } },
    phaseEvent(420, SIDE_SOURCE, Phase.PHASE_PERFORM3, 2_259_000),
    phaseEvent(421, SIDE_DEST, Phase.PHASE_FINISH3),
    phaseEvent(430, SIDE_DEST, Phase.PHASE_FINISH3, 9_000),
    { at: at(430), event: { $case: 'switchover', value: { side: SIDE_DEST, atUs: 2n } } },
    endedEvent(440, { outcome: Outcome.OUTCOME_COMPLETED }),
  ];
}
