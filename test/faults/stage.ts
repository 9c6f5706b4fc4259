/** Where the matrix is played: a lab whose connections all go through proxies, whose agents stop where a plan says, and whose QEMUs are watched. */
import { randomUUID } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { invoke, openCredentials, type Credentials } from '@ferry/agent';
import { buildGuest, guestConfig, guestXml, type TickReport, verifyTicks } from '@ferry/guest';
import {
  type AgentProcess,
  Lab,
  type LabHost,
  patience as patienceOf,
  type Side,
  signalProcess,
  untilGone,
} from '@ferry/lab';
import { DomainsService, type Domain } from '@ferry/proto/ferry/v1/domains';
import { phases } from '@ferry/migration';
import type { Guard } from './accidents.ts';
import { passedFile, type Passed, planFile, type Point } from './points.ts';
import { Proxy } from './proxy.ts';
import { Watch } from './watch.ts';

export const leaseMs = 1_000;
const idleMs = 1_500;

export type HostName = 'a' | 'b';
type AgentName = `${HostName}-${Side}`;
const agentNames: readonly AgentName[] = ['a-source', 'a-dest', 'b-source', 'b-dest'];

/** The guest that is moved now. */
export interface StageGuest {
  readonly uuid: string;
  readonly name: string;
  readonly output: string;
  /** Cases it has been through. */
  cases: number;
}

const guestOptions = { dirty: '2M', rate: '512K', tickMs: 10 } as const;
const memoryMiB = 16;

/** Waits until `find` gives something; undefined when the signal aborts first. */
export async function until<T>(find: () => T | Promise<T>, signal: AbortSignal): Promise<NonNullable<T> | undefined> {
  for (;;) {
    const found = await find();
    if (found !== undefined && found !== null && found !== false) return found;
    if (signal.aborted) return undefined;
    await delay(5);
  }
}

/** The agent has said that it stops; the kernel may be a moment later. */
export async function untilStopped(pid: number | undefined): Promise<void> {
  await until(() => {
    try {
      return /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    } catch {
      return true;
    }
  }, AbortSignal.timeout(1_000));
}

interface Links {
  /** Between an agent and Redis. */
  readonly redis: Readonly<Record<AgentName, Proxy>>;
  /** Between an agent and the agents that call it. */
  readonly agent: Readonly<Record<AgentName, Proxy>>;
}

export class Stage implements AsyncDisposable {
  /** The matrix's own files: plans, sockets, snapshots. */
  readonly dir: string;
  readonly lab: Lab;
  readonly links: Links;
  readonly watch: Watch;
  readonly credentials: Credentials;
  readonly #rom: string;
  #guest: StageGuest | undefined;
  #guests = 0;
  readonly #disks = new Map<HostName, string>();

  private constructor(parts: {
    dir: string;
    lab: Lab;
    links: Links;
    watch: Watch;
    credentials: Credentials;
    rom: string;
  }) {
    this.dir = parts.dir;
    this.lab = parts.lab;
    this.links = parts.links;
    this.watch = parts.watch;
    this.credentials = parts.credentials;
    this.#rom = parts.rom;
  }

  /** `defaults`: the agents have their limits as they are delivered, not those that let a matrix be played in minutes. */
  static async start({
    guard,
    defaults = false,
  }: {
    guard?: Guard | undefined;
    defaults?: boolean;
  } = {}): Promise<Stage> {
    const rom = await buildGuest();
    const dir = mkdtempSync('/tmp/ferry-faults-');
    process.once('exit', () => removeTree(dir));
    for (const each of ['watch', ...agentNames]) mkdirSync(join(dir, each));
    const redis = {} as Record<AgentName, Proxy>;
    const agent = {} as Record<AgentName, Proxy>;
    for (const name of agentNames) {
      redis[name] = await Proxy.listen({ path: join(dir, `${name}.redis`) });
      agent[name] = await Proxy.listen('tcp');
    }
    const qemu = writeQemu(dir);
    const env = ({ host, side }: { host: string; side: Side }) => {
      const name = `${host as HostName}-${side}` as const;
      return {
        FERRY_REDIS_URL: `unix://${join(dir, `${name}.redis`)}`,
        FERRY_ADDRESS: agent[name].address,
        ...(defaults ? {} : { FERRY_LEASE_MS: String(leaseMs), FERRY_IDLE_MS: String(idleMs) }),
        FERRY_QEMU: qemu,
        FAULTS_DIR: join(dir, name),
        FAULTS_GUARD_REMOVED: guard ?? '',
        NODE_OPTIONS: `--import ${join(import.meta.dirname, 'preload.ts')}`,
      };
    };
    const lab = await Lab.start({
      env,
      redis: { durable: true },
      onDirectory: (labDir) => {
        for (const name of agentNames) redis[name].target = { path: join(labDir, 'redis.sock') };
      },
    });
    for (const name of agentNames) {
      const [host, port] = agentOf(lab, name).address.split(':');
      agent[name].target = { host: host ?? '', port: Number(port) };
    }
    const credentials = await openCredentials(lab.tls);
    const watch = new Watch(join(dir, 'watch'));
    const stage = new Stage({ dir, lab, links: { redis, agent }, watch, credentials, rom });
    for (const host of ['a', 'b'] as const) stage.#mount(host);
    return stage;
  }

  #mount(host: HostName): void {
    const disk = join(this.dir, `disk-${host}`);
    mkdirSync(disk);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]).status !== 0) return;
    process.once('exit', () => spawnSync('umount', ['-l', disk]));
    this.#disks.set(host, disk);
    // A link, so that whoever removes the state directory does not meet a mount point.
    symlinkSync(disk, join(this.host(host).stateDir, 'handover'));
  }

  agent(host: HostName, side: Side): AgentProcess {
    return agentOf(this.lab, `${host}-${side}`);
  }

  host(name: HostName): LabHost {
    return this.lab.host(name);
  }

  /** Tells an agent where to stop; undefined: nowhere. */
  plan(host: HostName, side: Side, plan: { record?: boolean; stops?: readonly Point[] } | undefined): void {
    const dir = join(this.dir, `${host}-${side}`);
    if (plan === undefined) {
      rmSync(join(dir, planFile), { force: true });
      return;
    }
    rmSync(join(dir, passedFile), { force: true });
    const whole = { phases: Object.keys(phases), record: false, stops: [], ...plan };
    writeFileSync(join(dir, `${planFile}.new`), JSON.stringify(whole));
    renameSync(join(dir, `${planFile}.new`), join(dir, planFile));
  }

  /** The points that an agent has noted under its last plan. */
  passed(host: HostName, side: Side): Passed[] {
    const path = join(this.dir, `${host}-${side}`, passedFile);
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Passed);
  }

  /** The host that has the guest now, and the guest: one that runs, a new one if need be. */
  async guestReady(casesMax: number): Promise<{ guest: StageGuest; at: HostName }> {
    let guest = this.#guest;
    const living = this.watch.living();
    const at = living[0]?.host as HostName | undefined;
    if (guest !== undefined && at !== undefined && guest.cases < casesMax) return { guest, at };
    if (at !== undefined && guest !== undefined) {
      await invoke(this.host(at).clients.domains, DomainsService.destroy, { domain: guest.uuid }, patience());
    }
    guest = await this.#boot('a');
    return { guest, at: 'a' };
  }

  async #boot(at: HostName): Promise<StageGuest> {
    this.#guests += 1;
    const uuid = randomUUID();
    const guest = { uuid, name: `guest-${this.#guests}`, output: join(this.lab.files, `${uuid}.out`), cases: 0 };
    const serial = { type: 'file', path: guest.output } as const;
    const xml = guestXml({ ...guestOptions, name: guest.name, uuid, memoryMiB, rom: this.#rom, serial });
    await invoke(this.host(at).clients.domains, DomainsService.start, { domainXml: xml, paused: false }, patience());
    this.#guest = guest;
    if ((await this.ticksOn(guest, 5)) === undefined) throw new Error(`${guest.name} does not tick`);
    return guest;
  }

  report(guest: StageGuest): TickReport {
    return verifyTicks(existsSync(guest.output) ? readFileSync(guest.output, 'utf8') : '', guestConfig(guestOptions));
  }

  /** Waits until the guest has gone on for some ticks; undefined if it does not. */
  async ticksOn(guest: StageGuest, ticks: number): Promise<TickReport | undefined> {
    const from = this.report(guest).lastTick ?? 0;
    return until(() => {
      const report = this.report(guest);
      return (report.lastTick ?? 0) >= from + ticks ? report : undefined;
    }, patienceOf(5_000));
  }

  /** What both hosts' agents say of the guest. */
  async domains(guest: StageGuest): Promise<{ host: HostName; domain: Domain }[]> {
    const lists = await Promise.all(
      (['a', 'b'] as const).map(async (host) => {
        const { domains } = await invoke(this.host(host).clients.domains, DomainsService.list, {}, patience());
        return domains.filter(({ uuid }) => uuid === guest.uuid).map((domain) => ({ host, domain }));
      }),
    );
    return lists.flat();
  }

  /** Hosts that keep a directory for the guest. */
  directories(guest: StageGuest): HostName[] {
    return (['a', 'b'] as const).filter((host) => existsSync(join(this.host(host).stateDir, 'domains', guest.uuid)));
  }

  /** Leases, jobs and short jobs that Redis holds of the guest. */
  async leases(guest: StageGuest): Promise<string[]> {
    const keys = await this.lab.redis.client.keys(`*{${guest.uuid}}*`);
    return keys.filter((key) => /:(job|lease|short):/.test(key));
  }

  /** The register's record of a migration; empty if Redis does not answer. */
  async record(guest: StageGuest, migrationId: string): Promise<Readonly<Record<string, string>>> {
    return this.lab.redis.client.hgetall(this.recordKey(guest, migrationId)).catch(() => ({}));
  }

  recordKey(guest: StageGuest, migrationId: string): string {
    return `ferry:{${guest.uuid}}:handover:${migrationId}`;
  }

  /** Where a side keeps its journal of a migration. */
  journalOf(host: HostName, side: Side, migrationId: string): string {
    return join(this.host(host).stateDir, 'handover', side, `${migrationId}.json`);
  }

  /** The sides whose journal of a migration has no end. */
  openJournals(migrationId: string): string[] {
    const open: string[] = [];
    for (const name of agentNames) {
      const [host, side] = name.split('-') as [HostName, Side];
      const path = this.journalOf(host, side, migrationId);
      const text =
        statSync(path, { throwIfNoEntry: false })?.isFile() === true ? readFileSync(path, 'utf8') : undefined;
      if (text !== undefined && !isEnded(text)) open.push(name);
    }
    return open;
  }

  /** A host's QEMU, if one lives. */
  qemuOf(host: HostName): { signal(name: NodeJS.Signals): void } | undefined {
    const found = this.watch.living().find((qemu) => qemu.host === host);
    return found === undefined ? undefined : { signal: (name) => void signalProcess(found.process, name) };
  }

  async killQemu(host: HostName): Promise<boolean> {
    const found = this.watch.living().find((qemu) => qemu.host === host);
    if (found === undefined) return false;
    signalProcess(found.process, 'SIGKILL');
    await untilGone([found.process], patience());
    return true;
  }

  /** Where Redis appends what it is told. */
  redisFile(): string {
    const dir = join(this.lab.dir, 'appendonlydir');
    const name = readdirSync(dir).find((each) => each.endsWith('.incr.aof'));
    if (name === undefined) throw new Error(`no append-only file in ${dir}`);
    return join(dir, name);
  }

  /** A small file system of its own that a host's journals are on; undefined where mounting is not allowed. */
  journalDisk(host: HostName): string | undefined {
    return this.#disks.get(host);
  }

  /** Text for a report of what went wrong. */
  logs(): Record<string, string> {
    return Object.fromEntries(
      agentNames.map((name) => [name, agentOf(this.lab, name).log.lines().slice(-400).join('\n')]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of agentNames) agentOf(this.lab, name).signal('SIGCONT');
    await this.watch[Symbol.asyncDispose]();
    await this.lab[Symbol.asyncDispose]();
    for (const proxy of [...Object.values(this.links.redis), ...Object.values(this.links.agent)]) {
      await proxy[Symbol.asyncDispose]();
    }
    for (const disk of this.#disks.values()) spawnSync('umount', ['-l', disk]);
    removeTree(this.dir);
  }
}

/** A journal that is damaged has no end. */
function isEnded(text: string): boolean {
  try {
    return (JSON.parse(text) as { ended: boolean }).ended;
  } catch {
    return false;
  }
}

const patience = (): AbortSignal => patienceOf(20_000);

function agentOf(lab: Lab, name: AgentName): AgentProcess {
  const [host = '', side] = name.split('-');
  return lab.host(host)[side as Side];
}

/** Sockets first, one by one: a recursive removal that meets one breaks Jest (see lab/src/sweep.ts). */
function removeTree(dir: string): void {
  if (!existsSync(dir)) return;
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (entry.isSocket()) rmSync(join(entry.parentPath, entry.name), { force: true });
  }
  rmSync(dir, { recursive: true, force: true });
}

/** QEMU with one more monitor, for the watch alone: the agents have theirs. It keeps the pid that the agent gave it. */
function writeQemu(dir: string): string {
  const path = join(dir, 'qemu');
  const monitor = `-chardev "socket,id=watch,path=${dir}/watch/$$.sock,server=on,wait=off" -mon chardev=watch,mode=control`;
  writeFileSync(
    path,
    `#!/bin/sh\ncase "$1" in -S) exec qemu-system-x86_64 "$@" ${monitor};; esac\nexec qemu-system-x86_64 "$@"\n`,
  );
  chmodSync(path, 0o700);
  return path;
}
