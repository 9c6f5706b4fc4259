/** The world of the tests of the whole protocol: a lab, its guests, and what must be true of them whatever happens. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { expect } from '@jest/globals';
import { follow, invoke } from '@ferry/agent';
import { buildGuest, guestConfig, guestXml, verifyTicks, type GuestOptions, type TickReport } from '@ferry/guest';
import { Lab, type LabHost, type LabOptions, patience as patienceOf } from '@ferry/lab';
import { DestAgentService, type FinishRequest, type PrepareRequest } from '@ferry/proto/ferry/v1/dest_agent';
import { type AdoptRequest, type Domain, DomainsService, DomainState } from '@ferry/proto/ferry/v1/domains';
import {
  type AbortMigrationRequest,
  type Ended,
  type Failure,
  type GetMigrationRequest,
  type MigrationEvent,
  Protocol,
  type ResolveMigrationRequest,
} from '@ferry/proto/ferry/v1/migration';
import {
  type BeginRequest,
  type ConfirmRequest,
  type DumpXmlRequest,
  type MigrateRequest,
  type PerformRequest,
  SourceAgentService,
} from '@ferry/proto/ferry/v1/source_agent';
import { failureFromWire } from '@ferry/rpc';

/** How long anything may take before a test says it hangs; nothing is asserted about times. */
export const patience = (ms = 45_000): AbortSignal => patienceOf(ms);

export interface TestGuest {
  readonly name: string;
  readonly uuid: string;
  readonly options: GuestOptions;
  readonly xml: string;
  /** The guest's serial output, of all hosts: on one machine they append to the same file. */
  readonly output: string;
}

/** Waits until `find` gives something other than undefined or false. */
export async function eventually<T>(
  what: string,
  find: () => T | Promise<T>,
  signal = patience(),
): Promise<NonNullable<T>> {
  for (;;) {
    const found = await Promise.resolve().then(find).catch(notYet);
    if (found !== undefined && found !== null && found !== false) return found;
    if (signal.aborted) throw new Error(`waited in vain until ${what}`);
    await delay(10);
  }
}

/** A port of this machine that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** An agent that was restarted a moment ago is not connected to yet; any other error is one. */
function notYet(error: unknown): undefined {
  if (typeof error === 'object' && error !== null && 'code' in error && error.code === status.UNAVAILABLE)
    return undefined;
  throw error;
}

/** Why a call failed, in the agent's words; throws if it did not fail, or failed without a reason. */
export async function refusal(running: Promise<unknown>): Promise<Failure & { readonly code: number }> {
  const error: unknown = await running.then(
    (answer) => {
      throw new Error(
        `it was not refused but answered ${JSON.stringify(answer, (_k, v: unknown) => (typeof v === 'bigint' ? String(v) : v))}`,
      );
    },
    (reason: unknown) => reason,
  );
  const failure = failureFromWire(error);
  if (failure === undefined) throw error;
  const code = error instanceof Error && 'code' in error ? Number(error.code) : -1;
  return { ...failure, code };
}

/** A host's agents, called one RPC at a time. */
export function callsOf(host: LabHost) {
  const { source, dest, domains } = host.clients;
  const wait = patience;
  return {
    begin: (request: BeginRequest, signal = wait()) => invoke(source, SourceAgentService.begin, request, signal),
    dumpXml: (request: DumpXmlRequest, signal = wait()) => invoke(source, SourceAgentService.dumpXml, request, signal),
    perform: (request: PerformRequest, signal = wait()) => invoke(source, SourceAgentService.perform, request, signal),
    confirm: (request: ConfirmRequest, signal = wait()) => invoke(source, SourceAgentService.confirm, request, signal),
    abort: (request: AbortMigrationRequest) => invoke(source, SourceAgentService.abortMigration, request, wait()),
    get: (request: GetMigrationRequest) => invoke(source, SourceAgentService.getMigration, request, wait()),
    getIncoming: (request: GetMigrationRequest) => invoke(dest, DestAgentService.getMigration, request, wait()),
    abortIncoming: (request: AbortMigrationRequest) => invoke(dest, DestAgentService.abortMigration, request, wait()),
    resolve: (request: ResolveMigrationRequest) => invoke(source, SourceAgentService.resolveMigration, request, wait()),
    resolveIncoming: (request: ResolveMigrationRequest) =>
      invoke(dest, DestAgentService.resolveMigration, request, wait()),
    prepare: (request: Omit<PrepareRequest, 'paused'> & { paused?: boolean }, signal = wait()) =>
      invoke(dest, DestAgentService.prepare, { paused: false, ...request }, signal),
    finish: (request: FinishRequest, signal = wait()) => invoke(dest, DestAgentService.finish, request, signal),
    start: (domainXml: string, paused = false) => invoke(domains, DomainsService.start, { domainXml, paused }, wait()),
    adopt: (request: AdoptRequest) => invoke(domains, DomainsService.adopt, request, wait()),
    check: (domainXml: string) => invoke(domains, DomainsService.check, { domainXml }, wait()),
    list: async () => (await invoke(domains, DomainsService.list, {}, wait())).domains,
    getDomain: (domain: string) => invoke(domains, DomainsService.get, { domain }, wait()),
    suspend: (domain: string) => invoke(domains, DomainsService.suspend, { domain }, wait()),
    resume: (domain: string) => invoke(domains, DomainsService.resume, { domain }, wait()),
    shutdown: (domain: string) => invoke(domains, DomainsService.shutdown, { domain }, wait()),
    destroy: (domain: string) => invoke(domains, DomainsService.destroy, { domain }, wait()),
    where: async (domain: string) => (await invoke(domains, DomainsService.where, { domain }, wait())).owners,
    damaged: async (domain: string) => (await invoke(domains, DomainsService.where, { domain }, wait())).damaged,
    history: async (domain: string) => (await invoke(domains, DomainsService.history, { domain }, wait())).migrations,
    forgetHost: (gone: string) => invoke(domains, DomainsService.forgetHost, { host: gone }, wait()),
    forget: async (domain: string, gone: string) =>
      (await invoke(domains, DomainsService.forget, { domain, host: gone }, wait())).ownership,
  };
}

export type Wish = Partial<MigrateRequest>;
export type BootOptions = GuestOptions & {
  readonly memoryMiB?: number;
  readonly name?: string;
  readonly paused?: boolean;
};

export class World implements AsyncDisposable {
  readonly lab: Lab;
  readonly #rom: string;
  #guests = 0;

  private constructor(lab: Lab, rom: string) {
    this.lab = lab;
    this.#rom = rom;
  }

  static async start(options: LabOptions = {}): Promise<World> {
    const rom = await buildGuest();
    return new World(await Lab.start(options), rom);
  }

  get a(): LabHost {
    return this.lab.host('a');
  }

  get b(): LabHost {
    return this.lab.host('b');
  }

  /** Describes a guest without starting it. */
  describe(options: BootOptions = {}): TestGuest {
    this.#guests += 1;
    const { memoryMiB = 64, name = `guest-${this.#guests}`, paused: _paused, ...rest } = options;
    const uuid = randomUUID();
    const output = join(this.lab.files, `${uuid}.out`);
    const guest = { dirty: '4M', rate: '1M', tickMs: 5, ...rest };
    const xml = guestXml({ ...guest, name, uuid, memoryMiB, rom: this.#rom, serial: { type: 'file', path: output } });
    return { name, uuid, options: guest, xml, output };
  }

  /** Starts a guest and waits until it ticks. */
  async boot(host: LabHost, options: BootOptions = {}): Promise<TestGuest> {
    const guest = this.describe(options);
    await callsOf(host).start(guest.xml, options.paused);
    if (options.paused !== true) await this.ticksOn(guest);
    return guest;
  }

  /** What the guest has said so far, checked against what it must say. */
  report(guest: TestGuest): TickReport {
    return verifyTicks(existsSync(guest.output) ? readFileSync(guest.output, 'utf8') : '', guestConfig(guest.options));
  }

  /** Waits until the guest has gone on for some ticks from now. */
  async ticksOn(guest: TestGuest, ticks = 20): Promise<TickReport> {
    const from = this.report(guest).lastTick ?? 0;
    return eventually(`${guest.name} goes on ticking`, () => {
      const report = this.report(guest);
      return (report.lastTick ?? 0) >= from + ticks ? report : undefined;
    });
  }

  /** The events of a whole migration by the source agent, as they come. */
  async *watchMigrate(
    guest: TestGuest,
    wish: Wish = {},
    signal = patience(),
    from = this.a,
    to = this.b,
  ): AsyncIterable<MigrationEvent> {
    const request: MigrateRequest = {
      migrationId: randomUUID(),
      domain: guest.name,
      destination: to.destAddress,
      protocol: Protocol.PROTOCOL_V3,
      migrationUri: '',
      options: undefined,
      ...wish,
    };
    for await (const { event } of follow(from.clients.source, SourceAgentService.migrate, request, signal)) {
      if (event !== undefined) yield event;
    }
  }

  /** The whole migration from a to b by the source agent; gives its events, the last of which is the end. */
  async migrate(guest: TestGuest, wish: Wish = {}, from = this.a, to = this.b): Promise<MigrationEvent[]> {
    const events: MigrationEvent[] = [];
    for await (const event of this.watchMigrate(guest, wish, patience(), from, to)) events.push(event);
    return events;
  }

  /** The hosts whose agents say that the guest is there, in whatever state. */
  async hostsOf(guest: TestGuest): Promise<string[]> {
    const hosts = Object.values(this.lab.hosts);
    const domains = await Promise.all(hosts.map((host) => callsOf(host).list()));
    return hosts.filter((_host, i) => domains[i]?.some((d) => d.uuid === guest.uuid)).map((host) => host.name);
  }

  domainOn(host: LabHost, guest: TestGuest): Promise<Domain | undefined> {
    return callsOf(host)
      .list()
      .then((domains) => domains.find((d) => d.uuid === guest.uuid));
  }

  /** What must be true after every migration, however it went: one copy, no job, nothing left over, and the guest has noticed nothing. */
  async expectSettled(guest: TestGuest, host: LabHost): Promise<TickReport> {
    await eventually(`only ${host.name} has ${guest.name}`, async () => {
      const hosts = await this.hostsOf(guest);
      const qemus = this.lab.qemus().filter((q) => q.domain === guest.uuid);
      return hosts.length === 1 && hosts[0] === host.name && qemus.length === 1;
    });
    const domain = await eventually('its job is over', async () => {
      const found = await this.domainOn(host, guest);
      return found?.job === '' ? found : undefined;
    });
    const left = (): string[] =>
      Object.values(this.lab.hosts)
        .filter((other) => other !== host && readdirSafe(join(other.stateDir, 'domains')).includes(guest.uuid))
        .map((other) => other.name);
    await eventually('nothing is left of it elsewhere', () => left().length === 0);
    await eventually('all its leases are given back', async () => (await this.leases(guest)).length === 0);
    const report = domain.state === DomainState.DOMAIN_STATE_RUNNING ? await this.ticksOn(guest) : this.report(guest);
    expect(report.problems).toEqual([]);
    return report;
  }

  /** The keys of leases and job slots that Redis still holds for the guest. */
  async leases(guest: TestGuest): Promise<string[]> {
    const { client } = this.lab.sentinels ?? this.lab.redis;
    const keys = await client.keys(`*{${guest.uuid}}*`);
    return keys.filter((key) => /:(job|lease|short):/.test(key));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

/** The last event, which tells the outcome. */
export function endOf(events: readonly MigrationEvent[]): Ended {
  const last = events.at(-1)?.event;
  if (last?.$case === 'ended') return last.value;
  throw new Error(`the migration’s events do not end: the last one is ${last?.$case ?? 'missing'}`);
}

const readdirSafe = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []);
