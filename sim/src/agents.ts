/** The agents' processes: their real code on this world's parts, one life after the other. */
import { type Config, type Edge, type Log, OngoingMigrations, BlackoutGate, type Parts, runKeysOf } from '@ferry/agent';
import {
  type DestAgent,
  destAgent,
  destAgentService,
  destPeerService,
  takeUpWork as takeUpIncoming,
} from '@ferry/dest-agent';
import { HandoverRegister, HostNames, OwnerRecords } from '@ferry/handover';
import { Ports } from '@ferry/hypervisor';
import { MigrationJobs, systemClock } from '@ferry/jobs';
import { phases } from '@ferry/migration';
import type {
  CheckReadyResponse,
  FinishRequest,
  FinishResponse,
  PrepareRequest,
  PrepareResponse,
} from '@ferry/proto/ferry/v1/dest_agent';
import type { AskRequest, AskResponse, GetMigrationResponse } from '@ferry/proto/ferry/v1/migration';
import {
  domainsService,
  type SourceAgent,
  sourceAgent,
  sourceAgentService,
  sourcePeerService,
  takeUpWork as takeUpOutgoing,
} from '@ferry/source-agent';
import { type Host, SimHypervisor } from './host.ts';
import { SimJournals } from './journals.ts';
import type { Handler } from './network.ts';
import type { Side } from './qemu.ts';
import { redisClient } from './redis-client.ts';
import { Life } from './timeline.ts';
import type { World } from './world.ts';

const ports = { source: 7101, dest: 7102 } as const;

export const addressOf = (host: string, side: Side): string => `${host}:${ports[side]}`;

/** The edge without gRPC: a handler is the function that answers. */
const edge = {
  unary: (_name: string, answer: unknown) => answer,
  serverStream: (_name: string, answer: unknown) => answer,
  standBy: (_name: string, parts: { ready: unknown }) => parts.ready,
} as unknown as Edge;

/** One agent of a host. Its supervisor starts it again whenever it ends. */
export class AgentProcess {
  readonly host: Host;
  readonly side: Side;
  readonly #world: World;
  life: Life;
  #lives = 0;
  agent: SourceAgent | DestAgent | undefined;
  /** Calls are answered. */
  serving = false;
  #shutdown = new AbortController();

  constructor(world: World, host: Host, side: Side) {
    this.#world = world;
    this.host = host;
    this.side = side;
    this.life = new Life('not started');
    this.life.state = 'dead';
  }

  get name(): string {
    return `${this.side}@${this.host.name}`;
  }

  /** A new life, in so many milliseconds. */
  start(ms: number): void {
    const world = this.#world;
    world.timeline.after(undefined, ms, () => {
      if (!this.life.dead || this.host.gone) return;
      this.#lives += 1;
      const life = new Life(`${this.name}/${this.#lives}`);
      this.life = life;
      this.#shutdown = new AbortController();
      this.agent = undefined;
      this.serving = false;
      life.atDeath.push(() => {
        this.serving = false;
        this.start(world.random.scale(1, world.plan.restartMsMax));
      });
      world.timeline.after(life, 0, () => {
        this.#live(life).catch((error: unknown) => {
          world.trace?.(`${life.name} ends: ${String(error)}`);
          world.timeline.kill(life);
        });
      });
    });
  }

  async #live(life: Life): Promise<void> {
    const world = this.#world;
    const { parts, untilRedis } = this.#open(life);
    await untilRedis;
    const agent = this.side === 'source' ? await this.#outgoing(life, parts) : await this.#incoming(life, parts);
    // It may have been killed in the middle of its last step.
    if (life.dead) return;
    world.network.serve(addressOf(this.host.name, this.side), {
      life,
      side: this.side,
      host: this.host.name,
      handlers: agent,
    });
    this.serving = true;
    world.trace?.(`${life.name} serves`);
  }

  async #outgoing(life: Life, parts: Parts): Promise<Record<string, Handler>> {
    const agent = sourceAgent(parts, (address) => this.#destinationAt(life, address));
    this.agent = agent;
    await takeUpOutgoing(agent, this.#shutdown.signal);
    const handlers = sourceAgentService(agent, edge).implementation as unknown as Record<string, Handler>;
    // A stream's caller hears of its end.
    const migrate = handlers['migrate'] as unknown as (request: unknown, signal: AbortSignal) => AsyncIterable<unknown>;
    const domains = domainsService(agent, edge).implementation as unknown as Record<string, Handler>;
    const peer = sourcePeerService(agent, edge).implementation as unknown as Record<string, Handler>;
    return { ...domains, ...handlers, ...peer, migrate: async (request, signal) => lastOf(migrate(request, signal)) };
  }

  async #incoming(life: Life, parts: Parts): Promise<Record<string, Handler>> {
    const world = this.#world;
    const from = { life, host: this.host.name };
    const sourceAt = (address: string) => ({
      ask: (request: AskRequest, signal: AbortSignal) =>
        world.network.call(from, address, 'ask', request, signal) as Promise<AskResponse>,
    });
    const agent = destAgent(parts, {
      ports: new Ports(parts.config.migration.ports),
      sourceAt,
      sourceRuns: () => Promise.resolve(true),
    });
    this.agent = agent;
    await takeUpIncoming(agent, this.#shutdown.signal);
    const services = [destAgentService(agent, edge), destPeerService(agent, edge)];
    return Object.assign({}, ...services.map(({ implementation }) => implementation)) as Record<string, Handler>;
  }

  #destinationAt(life: Life, address: string): ReturnType<SourceAgent['destinationAt']> {
    const { network } = this.#world;
    const from = { life, host: this.host.name };
    return {
      prepare: (request: PrepareRequest, signal) =>
        network.call(from, address, 'prepare', request, signal) as Promise<PrepareResponse>,
      finish: (request: FinishRequest, signal) =>
        network.call(from, address, 'finish', request, signal) as Promise<FinishResponse>,
      getMigration: (names, signal) =>
        network.call(from, address, 'getMigration', names, signal) as Promise<GetMigrationResponse>,
      abortMigration: (names, signal) => network.call(from, address, 'abortMigration', names, signal),
      ask: (request, signal) => network.call(from, address, 'ask', request, signal) as Promise<AskResponse>,
      checkReady: (request, signal) =>
        network.call(from, address, 'checkReady', request, signal) as Promise<CheckReadyResponse>,
      servedBy: () => undefined,
      getReady: (value) => {
        const message = { request: { $case: 'getReady', value } };
        network.call(from, address, 'standBy', message, AbortSignal.timeout(1000)).catch(() => undefined);
      },
    };
  }

  #open(life: Life): { parts: Parts; untilRedis: Promise<void> } {
    const world = this.#world;
    const host = this.host.name;
    const redis = redisClient(world, life, host);
    const config = configOf(this.host, this.side);
    const { leaseMs } = config;
    const owner = `${this.side}-agent@${host}`;
    const kind = this.side === 'source' ? 'MIGRATION_OUT' : 'MIGRATION_IN';
    const gate = new BlackoutGate();
    const parts: Parts = {
      config,
      log: logOf(world, life),
      clock: systemClock,
      hypervisor: new SimHypervisor(world, life, this.host, this.side),
      jobs: new MigrationJobs({ redis, host, owner, kind, leaseMs, phases, clock: systemClock }),
      register: new HandoverRegister({ redis, host, side: this.side, address: config.address }),
      owners: new OwnerRecords({ redis, host }),
      hostNames: new HostNames(redis),
      journals: new SimJournals(world, life, this.host.disks[this.side]),
      ongoing: new OngoingMigrations({ gate }),
      gate,
      // Names lead where they should.
      lookUp: () => Promise.resolve([]),
      runKeys: runKeysOf(Buffer.from(`${host} ${this.side}`)),
    };
    const untilRedis = async (): Promise<void> => {
      while (world.redis.wayOf(host) !== 'open' || world.redis.serverOf(host) === undefined)
        await world.pause(life, 50);
    };
    return { parts, untilRedis: untilRedis() };
  }

  /** SIGTERM: it ends what it does in good order, then it ends. */
  async endInOrder(): Promise<void> {
    const { life, agent } = this;
    if (life.dead || agent === undefined || this.#shutdown.signal.aborted) return;
    this.#world.network.leave(addressOf(this.host.name, this.side));
    this.#shutdown.abort(new Error('SIGTERM received'));
    await agent.migrations[Symbol.asyncDispose]();
    if ('ownership' in agent) await agent.ownership[Symbol.asyncDispose]();
    agent.jobs[Symbol.dispose]();
    this.#world.timeline.kill(life);
  }
}

async function lastOf(events: AsyncIterable<unknown>): Promise<unknown> {
  let last: unknown;
  for await (const event of events) last = event;
  return last;
}

function configOf(host: Host, side: Side): Config {
  return {
    host: { name: host.name, uuid: host.uuid },
    listen: { host: host.name, port: ports[side] },
    address: addressOf(host.name, side),
    stateDir: '/var/lib/ferry',
    redis: { kind: 'server', url: 'redis://redis:6379' },
    tls: undefined,
    migration: { address: host.name, ports: { first: 49_152, last: 49_155 }, sockets: '/sockets' },
    qemu: 'qemu-system-x86_64',
    qemuUser: undefined,
    leaseMs: 10_000,
    idleMs: 5_000,
    finishMs: 2_000,
    stallMs: 1_000,
    holdMs: 20_000,
    domainPaths: ['/'],
    protectedPaths: [],
    sharedPaths: [],
    networks: new Map(),
    addedArguments: 'refuse',
    memoryReserveBytes: 0,
    guestLogBytesMax: Infinity,
    logLevel: 'silent',
    metricsListen: undefined,
    allowed: new Set(),
    grants: [],
    auditLog: undefined,
    requireTls: false,
    memoryTlsDir: undefined,
  };
}

/** Lines go into the trace. */
function logOf(world: World, life: Life): Log {
  const say = (fields: unknown, message?: string): void => {
    if (world.trace === undefined) return;
    const { err, phase } =
      typeof fields === 'object' && fields !== null ? { err: undefined, phase: undefined, ...fields } : {};
    world.trace(
      `${life.name} log: ${message ?? String(fields)} ${phase ?? ''} ${err === undefined ? '' : String(err)}`,
    );
  };
  return { debug: say, info: say, warn: say, error: say } as unknown as Log;
}
