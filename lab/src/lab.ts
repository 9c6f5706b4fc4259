/** A cluster on one machine: hosts with their agents as real processes, one real Redis, certificates of its own. */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { readFileSync } from 'node:fs';
import { AgentProcess, type Side } from './agent-process.ts';
import { CertificateAuthority, type TlsFiles } from './certificates.ts';
import { newLabDirectory } from './directory.ts';
import { givenUp } from './given-up.ts';
import { Guard } from './guard.ts';
import { LabHost } from './host.ts';
import { LogFile } from './log-file.ts';
import { takePorts } from './ports.ts';
import { isRunning } from './processes.ts';
import { agentProgram, type AgentCommand, workspace } from './program.ts';
import { type LabQemu, recordedQemus } from './qemus.ts';
import { SentinelGroup } from './redis-sentinel.ts';
import { type RedisOptions, RedisServer } from './redis-server.ts';
import { patience } from './patience.ts';
import { sweep } from './sweep.ts';

/** What a lab may be asked for. */
export interface LabOptions {
  /** Names of the hosts; `a` and `b` unless told otherwise. */
  readonly hosts?: readonly string[];
  /** Where guests' files may be, besides the lab's own directory of them. */
  readonly domainPaths?: readonly string[];
  /** Added to the environment of every agent, or of one. Wins over what the lab sets itself. */
  readonly env?: Environment | ((agent: { host: string; side: Side }) => Environment);
  readonly redis?: RedisOptions;
  /** Where the agents listen and memory flows; 127.0.0.1 unless told otherwise. */
  readonly address?: '127.0.0.1' | '::1';
  /** A master, a replica and three sentinels in the place of the one Redis. Called with them before the agents' environments are made. */
  readonly sentinels?: (group: SentinelGroup) => void | Promise<void>;
  /** Start the agents, and wait until they serve; otherwise a test does that. */
  readonly agents?: 'serving' | 'not-started';
  /** Another program in the place of an agent: for tests of the lab itself. */
  readonly command?: AgentCommand;
  /** Called with the directory's name before anything exists. */
  readonly onDirectory?: (dir: string) => void | Promise<void>;
}

type Environment = Readonly<Record<string, string>>;

/** How long an agent may take to end in good order before it is killed: enough to drain, short enough for a test. */
const drainMs = 3_000;

/** Everything is gone when it is disposed of, or when the process that made it ends, in whatever way (see reaper.ts). */
export class Lab implements AsyncDisposable {
  /** Removed at the end; short, so that UNIX sockets fit. */
  readonly dir: string;
  /** The lab's certificate as a client of the agents. */
  readonly tls: TlsFiles;
  /** The one Redis; with sentinels, the master that they began with. */
  readonly redis: RedisServer;
  readonly sentinels: SentinelGroup | undefined;
  readonly hosts: Readonly<Record<string, LabHost>>;
  readonly #guard: Guard;
  readonly #authority: CertificateAuthority;
  #over: Promise<void> | undefined;

  private constructor(
    dir: string,
    tls: TlsFiles,
    redis: RedisServer | SentinelGroup,
    hosts: readonly LabHost[],
    guard: Guard,
    authority: CertificateAuthority,
  ) {
    this.dir = dir;
    this.tls = tls;
    this.redis = redis instanceof SentinelGroup ? redis.servers[0] : redis;
    this.sentinels = redis instanceof SentinelGroup ? redis : undefined;
    this.hosts = Object.fromEntries(hosts.map((host) => [host.name, host]));
    this.#guard = guard;
    this.#authority = authority;
  }

  /**
   * Starts a lab; about two seconds. If anything fails, or `signal` aborts, everything that was started is ended before the error is
   * thrown; an agent that does not start is named with the tail of its log.
   */
  static async start(options: LabOptions = {}, signal: AbortSignal = patience(120_000)): Promise<Lab> {
    const dir = newLabDirectory();
    await options.onDirectory?.(dir);
    // Before the first thing that could be left behind.
    const guard = await Guard.start(dir);
    let lab: Lab | undefined;
    try {
      signal.throwIfAborted();
      lab = await Lab.#prepare(dir, options, guard, signal);
      if ((options.agents ?? 'serving') === 'serving') await lab.#startAgents(signal);
      return lab;
    } catch (error) {
      if (lab === undefined) await Lab.#sweepAway(dir, guard);
      else await lab[Symbol.asyncDispose]();
      // A Ctrl-C may also have killed a process that had no session of its own yet.
      throw givenUp(signal) ? signal.reason : error;
    }
  }

  /** Not left to the reaper: a Ctrl-C in the moment of its birth, before it has a session of its own, kills it. */
  static async #sweepAway(dir: string, guard: Guard): Promise<void> {
    try {
      await sweep(dir);
    } finally {
      await guard.end();
    }
  }

  static async #prepare(dir: string, options: LabOptions, guard: Guard, signal: AbortSignal): Promise<Lab> {
    await mkdir(dir, { mode: 0o700 });
    await mkdir(filesOf(dir), { mode: 0o700 });
    const redis = await redisOf(dir, options, signal);
    const names = options.hosts ?? ['a', 'b'];
    const [authority] = await Promise.all([CertificateAuthority.create('Ferry lab'), redis.start(signal)]);
    if (redis instanceof SentinelGroup) await options.sentinels?.(redis);
    const tls = await authority.issue('client', join(dir, 'tls'), 'admin');
    const channel = credentials.createSsl(readFileSync(tls.ca), readFileSync(tls.key), readFileSync(tls.cert));
    const hosts: LabHost[] = [];
    for (const name of names) hosts.push(await makeHost(name, dir, options, authority, redis.url, channel, signal));
    return new Lab(dir, tls, redis, hosts, guard, authority);
  }

  async #startAgents(signal: AbortSignal): Promise<void> {
    const starts = this.agents.map((agent) => agent.start({}, signal));
    // All of them, also when one fails: none may come up after the others have been ended.
    const failed = (await Promise.allSettled(starts)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  /** Where guests may have their files: beside what is the agents' own. */
  get files(): string {
    return filesOf(this.dir);
  }

  /** A host by name. */
  host(name: string): LabHost {
    const host = this.hosts[name];
    if (host === undefined)
      throw new Error(`no host ${name} in this lab; there are ${Object.keys(this.hosts).join(', ')}`);
    return host;
  }

  /** A certificate for one more caller. */
  issue(name: string, role = 'admin'): Promise<TlsFiles> {
    return this.#authority.issue(name, join(this.dir, 'tls'), role);
  }

  /** Every agent of every host. */
  get agents(): AgentProcess[] {
    return Object.values(this.hosts).flatMap((host) => [host.source, host.dest]);
  }

  /** The QEMUs that run now, as the agents have recorded them. */
  qemus(): LabQemu[] {
    return recordedQemus(this.dir).filter(isRunning);
  }

  /** Leaves the lab running after this process has ended; `sweep(lab.dir)` ends it then. */
  async release(): Promise<void> {
    for (const host of Object.values(this.hosts)) host.close();
    (this.sentinels ?? this.redis).disconnect();
    this.#over ??= this.#guard.release();
    await this.#over;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over ??= this.#end();
    await this.#over;
  }

  async #end(): Promise<void> {
    for (const host of Object.values(this.hosts)) host.close();
    (this.sentinels ?? this.redis).disconnect();
    const ends = await Promise.allSettled(this.agents.map((agent) => agent.kill('SIGTERM', drainMs)));
    await Lab.#sweepAway(this.dir, this.#guard);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }
}

const filesOf = (dir: string): string => join(dir, 'files');

const redisOf = async (dir: string, options: LabOptions, signal: AbortSignal): Promise<RedisServer | SentinelGroup> =>
  options.sentinels === undefined
    ? new RedisServer(dir, options.redis ?? {})
    : SentinelGroup.make(dir, options.redis ?? {}, signal);

async function makeHost(
  name: string,
  dir: string,
  options: LabOptions,
  authority: CertificateAuthority,
  redisUrl: string,
  channel: ReturnType<typeof credentials.createSsl>,
  signal: AbortSignal,
): Promise<LabHost> {
  if (!/^[a-z][a-z0-9-]{0,15}$/.test(name))
    throw new Error(`${name} is no name for a lab's host: letters, digits and dashes, 16 at most`);
  const stateDir = join(dir, name);
  await mkdir(stateDir, { mode: 0o700 });
  const tls = await authority.issue(name, join(dir, 'tls'), `agent/${name}`);
  const ports = await takePorts(dir, signal);
  const hostUuid = randomUUID();
  const address = options.address ?? '127.0.0.1';
  const agent = (side: Side) => {
    const env = {
      ...inherited(),
      FERRY_HOST: name,
      FERRY_HOST_UUID: hostUuid,
      FERRY_LISTEN: `${isIPv6(address) ? `[${address}]` : address}:${ports[side]}`,
      FERRY_STATE_DIR: stateDir,
      FERRY_REDIS_URL: redisUrl,
      FERRY_TLS_CA: tls.ca,
      FERRY_TLS_CERT: tls.cert,
      FERRY_TLS_KEY: tls.key,
      FERRY_AUDIT_LOG: join(dir, `${name}-${side}.audit`),
      FERRY_MIGRATION_ADDRESS: address,
      // One directory for all hosts: on one machine, the sender finds the socket where the receiver made it.
      FERRY_MIGRATION_SOCKETS: join(dir, 'sockets'),
      FERRY_MIGRATION_PORTS: ports.migration.join('-'),
      FERRY_DOMAIN_PATHS: [filesOf(dir), join(workspace, 'guest', 'build'), ...(options.domainPaths ?? [])].join(':'),
      ...(typeof options.env === 'function' ? options.env({ host: name, side }) : options.env),
    };
    const program = agentProgram(side, env, options.command);
    return new AgentProcess({ host: name, side, dir, program, log: new LogFile(join(dir, `${name}-${side}.log`)) });
  };
  return new LabHost(
    { name, hostUuid, stateDir, migrationPorts: ports.migration, source: agent('source'), dest: agent('dest') },
    channel,
  );
}

/** Our own environment without another Ferry's settings, and without options meant for this Node alone. */
function inherited(): Environment {
  const ours = Object.entries(process.env).filter(([name]) => !name.startsWith('FERRY_') && name !== 'NODE_OPTIONS');
  return Object.fromEntries(ours.map(([name, value]) => [name, value ?? '']));
}
