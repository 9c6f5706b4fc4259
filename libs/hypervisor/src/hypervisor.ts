/** This host's QEMUs, as one agent sees them: found by their directories, driven over this agent's own monitors. */
import { once } from 'node:events';
import { realpath } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { filesOf, writeDomainForOlderLibvirt, type Domain, type Networks, type XmlPolicy } from '@ferry/domain-xml';
import { Monitor, QmpError, type RunState } from '@ferry/qemu-qmp';
import { Admission } from './admission.ts';
import { askBinary, type QemuBinary, weaknessesOf } from './binary.ts';
import { type Definition, DomainDirectory, isUuid } from './domain-directory.ts';
import { HypervisorError } from './errors.ts';
import { knownFilesOf } from './file-checks.ts';
import { makeFromTemplates } from './host-checks.ts';
import { cutGrown } from './guest-logs.ts';
import { KnownFiles } from './known-files.ts';
import { type Launch, launch, type Launched } from './launch.ts';
import { giveMemoryCredentials, takeMemoryCredentials, type MemoryCredentials } from './memory-credentials.ts';
import type { QemuUser } from './confinement.ts';
import { isAlive, isAliveNow, send, waitGone, type ProcessIdentity } from './qemu-process.ts';
import { RunStates } from './run-states.ts';
import { Spawner } from './spawner.ts';
import { type MemoryPort, watchHandshakes } from './handshakes.ts';
import { listenerOf } from './socket-owner.ts';
import { Turns } from './turns.ts';

/** How long QEMU may take to write back its disks' caches before it is killed. */
const quitMs = 5_000;
/** How long a killed process may take to be gone; the kernel frees a big guest's memory at some GiB a second. */
const killMs = 30_000;
/** A directory in which no QEMU was ever noted down is left over once it is this old. */
const leftoverMs = 60_000;

export interface HypervisorOptions {
  readonly stateDir: string;
  readonly binary: string;
  readonly side: 'source' | 'dest';
  readonly policy: XmlPolicy;
  readonly memoryReserveBytes: number;
  /** The agent's own directories and files, which no document reaches. */
  readonly protectedPaths?: readonly string[];
  /** Directories that all hosts see, whatever their file system says. */
  readonly sharedPaths?: readonly string[];
  /** What a file may take on the disk that a guest makes its QEMU write; without bound if not given. */
  readonly guestLogBytesMax?: number;
  /** What documents may do on this host that opens it: `open-displays`, `host-services`; nothing if not given. */
  readonly allowed?: ReadonlySet<string>;
  /** Which bridges of this host are networks; none if not given. */
  readonly networks?: Networks;
  /** Whom QEMU and swtpm run as; the agent's own user if not given, and then that is root's, or none. */
  readonly user?: QemuUser | undefined;
  /** Told once of what is weaker on this host than it should be. */
  readonly warn?: (weakness: string) => void;
}

/** A QEMU that runs on this host, with this agent's monitor to it. */
export interface Guest extends Definition {
  readonly process: ProcessIdentity;
  readonly monitor: Monitor;
}

export class Hypervisor {
  /** What this host says to a domain before anything is started. */
  readonly admission: Pick<Admission, keyof Admission>;
  readonly #options: HypervisorOptions;
  readonly #binary: QemuBinary;
  readonly #directory: DomainDirectory;
  readonly #known: KnownFiles;
  readonly #monitors = new Map<string, Promise<Monitor>>();
  /** Guests that belong here, as long as the monitor is open: they are looked for in every phase. */
  readonly #guests = new Map<string, Guest>();
  /** Which domain had a name last: whether it has it still is seen when it is looked for. */
  readonly #names = new Map<string, string>();
  readonly #states = new RunStates();
  readonly #spawner = new Spawner();
  /** Documents that were read, until they change; a migration looks at one several times. */
  readonly #domains = new Map<string, { readonly version: string; readonly domain: Domain }>();

  private constructor(options: HypervisorOptions, binary: QemuBinary) {
    this.#options = options;
    this.#binary = binary;
    this.#directory = new DomainDirectory(options.stateDir, options.user);
    this.#known = new KnownFiles(options.stateDir);
    this.admission = new Admission(options, binary);
  }

  /** Asks the QEMU binary what it can do, so that the answer is there when a guest comes. */
  static async open(options: HypervisorOptions, signal: AbortSignal): Promise<Hypervisor> {
    const binary = await askBinary(options.binary, signal);
    for (const weakness of weaknessesOf(binary)) options.warn?.(weakness);
    const hypervisor = new Hypervisor(options, binary);
    hypervisor.admission.warmUp();
    return hypervisor;
  }

  /** Reads a document as this host would build it: defaults, addresses and the machine type's version filled in. Throws DomainXmlError. */
  read(xml: string): Domain {
    return this.admission.read(xml);
  }

  /** Likewise, of a document that a caller has given, beside the event loop. Throws DomainXmlError, the signal's reason. */
  readGiven(xml: string, signal: AbortSignal): Promise<Domain> {
    return this.admission.readGiven(xml, signal);
  }

  /** The document that a domain of this host was built from. */
  async domainOf(uuid: string): Promise<Domain> {
    const version = await this.#directory.xmlVersion(uuid);
    const known = this.#domains.get(uuid);
    if (known?.version === version) return known.domain;
    const domain = this.read(await this.#directory.xml(uuid));
    this.#domains.set(uuid, { version, domain });
    return domain;
  }

  xmlOf(uuid: string): Promise<string> {
    return this.#directory.xml(uuid);
  }

  /** The domains of this host whose QEMU runs, by name. */
  async list(): Promise<Definition[]> {
    const definitions = await Promise.all((await this.#directory.uuids()).map((uuid) => this.#running(uuid)));
    return definitions.filter((d) => d !== undefined).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The UUIDs of all domains that have a place on this host, also of those whose QEMU is gone. */
  places(): Promise<string[]> {
    return this.#directory.uuids();
  }

  /** The domains that have a place on this host and whose QEMU is gone. */
  async leftBehind(): Promise<Definition[]> {
    const uuids = await this.#directory.uuids();
    const gone = await Promise.all(
      uuids.map(async (uuid) =>
        (await this.#processOf(uuid)) === undefined ? this.#directory.definition(uuid) : undefined,
      ),
    );
    return gone.filter((definition) => definition !== undefined);
  }

  /** Of a guest whose monitor is open everything but whether it still runs is known. */
  async #running(uuid: string): Promise<Definition | undefined> {
    const known = this.#guests.get(uuid);
    if (known !== undefined && (await isAlive(known.process))) return known;
    const definition = this.#directory.definition(uuid);
    const process = definition === undefined ? undefined : await this.#processOf(uuid);
    return process === undefined ? undefined : definition;
  }

  async #processOf(uuid: string): Promise<ProcessIdentity | undefined> {
    const noted = this.#directory.process(uuid);
    if (noted !== undefined) return (await isAlive(noted)) ? noted : undefined;
    return this.#directory.qemuByPidFile(uuid);
  }

  /** Finds a domain by UUID or name. Throws domain-not-found. */
  async find(nameOrUuid: string): Promise<Definition> {
    const uuid = nameOrUuid.toLowerCase();
    const found = isUuid(uuid) ? await this.#running(uuid) : await this.#named(nameOrUuid);
    if (found !== undefined) return found;
    throw new HypervisorError(
      'domain-not-found',
      `no domain ${JSON.stringify(nameOrUuid.slice(0, 100))} runs on this host: ask the others, or start it`,
    );
  }

  /** A name is one domain's at a time: the others are read only where the one that had it last has it no more. */
  async #named(name: string): Promise<Definition | undefined> {
    const last = this.#names.get(name);
    const known = last === undefined ? undefined : await this.#running(last);
    if (known?.name === name) return known;
    this.#names.delete(name);
    const found = (await this.list()).find((each) => each.name === name);
    if (found !== undefined) this.#names.set(name, found.uuid);
    return found;
  }

  /**
   * A guest's run state as its QEMU said it less than `keptMs` ago, if no event has told of a change since; else QEMU is asked. For those who show it:
   * whoever acts on it asks. Throws QmpError, the signal's reason.
   */
  runState(guest: Pick<Guest, 'monitor'>, keptMs: number, signal: AbortSignal): Promise<RunState> {
    return this.#states.of(guest.monitor, keptMs, signal);
  }

  /** Finds a domain and connects to its QEMU, or takes the connection that is there. */
  async guest(nameOrUuid: string, signal: AbortSignal): Promise<Guest> {
    const known = this.#guests.get(nameOrUuid.toLowerCase());
    if (known !== undefined) return known;
    const definition = await this.find(nameOrUuid);
    const process = await this.#processOf(definition.uuid);
    if (process === undefined)
      throw new HypervisorError('domain-not-found', `the QEMU of domain ${definition.name} ended just now`);
    const guest = { ...definition, process, monitor: await this.#monitorOf(definition, signal) };
    this.#remember(guest);
    return guest;
  }

  #remember(guest: Guest): void {
    const { uuid, incoming, monitor } = guest;
    if (incoming !== undefined || monitor.closed.aborted) return;
    this.#guests.set(uuid, guest);
    const forget = (): void => {
      if (this.#guests.get(uuid) === guest) this.#guests.delete(uuid);
    };
    monitor.closed.addEventListener('abort', forget, { once: true });
  }

  #monitorOf(definition: Definition, signal: AbortSignal): Promise<Monitor> {
    const { uuid, adoptedMonitor } = definition;
    const path = adoptedMonitor ?? this.#directory.paths(uuid).monitor(this.#options.side);
    const known = this.#monitors.get(uuid);
    if (known !== undefined) return known;
    // One call's deadline must not become the connection's: the others wait for the same one.
    const connecting = Monitor.connect(path, AbortSignal.any([signal, AbortSignal.timeout(quitMs)]));
    this.#keep(uuid, connecting);
    return connecting;
  }

  #keep(uuid: string, connecting: Promise<Monitor>): void {
    this.#monitors.set(uuid, connecting);
    const forget = (): void => {
      if (this.#monitors.get(uuid) === connecting) this.#monitors.delete(uuid);
    };
    connecting.then((monitor) => monitor.closed.addEventListener('abort', forget, { once: true }), forget);
  }

  /**
   * Starts a QEMU for a completed domain, its CPUs stopped; with `incoming`, one that waits for that migration's guest. What does not
   * succeed leaves nothing behind. It belongs here when it is settled. Throws HypervisorError.
   */
  async create(domain: Domain, incoming: string | undefined, signal: AbortSignal): Promise<Guest> {
    await this.#refuseKnown(domain);
    const problem = (await this.admission.problems(domain)).at(0);
    if (problem !== undefined) throw problem;
    const told = await this.admission.asTold(domain);
    await makeFromTemplates(domain, this.#options.user);
    const definition: Definition = {
      uuid: domain.uuid,
      name: domain.name,
      ...(incoming === undefined ? { starting: true } : { incoming }),
    };
    await this.#write(definition, domain);
    try {
      for (const file of filesOf(domain))
        if (file.use === 'shared-memory') await this.#known.makeShared(file, this.#options.user);
      await this.#known.record(domain.uuid, await knownFilesOf(told));
      const order = {
        spawner: this.#spawner,
        binary: this.#binary,
        directory: this.#directory,
        domain: told,
        networks: this.#options.networks ?? new Map(),
        side: this.#options.side,
        incoming: incoming !== undefined,
        user: this.#options.user,
      };
      const launching = launchInTurn(order, signal);
      // QEMU serves one client: who looks at the guest meanwhile waits for the same connection.
      this.#keep(
        domain.uuid,
        launching.then((launched) => launched.monitor),
      );
      const { process, monitor } = await launching;
      return { ...definition, process, monitor };
    } catch (error) {
      this.#domains.delete(domain.uuid);
      await this.#directory.remove(domain.uuid);
      throw error;
    }
  }

  /** Makes a domain's directory. What was read already is not read again: the document that is written says the same. */
  async #write(definition: Definition, domain: Domain): Promise<void> {
    const { uuid } = definition;
    await this.#directory.create(definition, writeDomainForOlderLibvirt(domain));
    this.#domains.set(uuid, { version: await this.#directory.xmlVersion(uuid), domain });
  }

  /** domain-exists if the domain's UUID or name runs here. */
  async known(domain: Domain): Promise<HypervisorError | undefined> {
    const one = (await this.list()).find(({ uuid, name }) => uuid === domain.uuid || name === domain.name);
    if (one === undefined) return undefined;
    return new HypervisorError(
      'domain-exists',
      `domain ${one.name} (${one.uuid}) is on this host already: end it first, or give ${domain.name} another name and UUID`,
    );
  }

  /** Throws domain-exists for a domain whose UUID or name runs here; clears away what a dead QEMU left. */
  async #refuseKnown(domain: Domain): Promise<void> {
    const known = await this.known(domain);
    if (known !== undefined) throw known;
    await this.#collect(domain.uuid);
  }

  async #collect(uuid: string): Promise<boolean> {
    if ((await this.#processOf(uuid)) !== undefined) return false;
    const started = this.#directory.process(uuid) !== undefined;
    if (!started && (await this.#directory.ageMs(uuid)) < leftoverMs) return false;
    this.#domains.delete(uuid);
    await this.#directory.keepLog(uuid).catch(() => undefined);
    await this.#directory.remove(uuid);
    return true;
  }

  /** Removes the directories, all or those of some domains, whose QEMU is gone; gives their UUIDs. */
  async collect(of?: readonly string[]): Promise<string[]> {
    const uuids = of ?? (await this.#directory.uuids());
    const collected = await Promise.all(uuids.map(async (uuid) => ((await this.#collect(uuid)) ? uuid : undefined)));
    return collected.filter((uuid) => uuid !== undefined);
  }

  /**
   * Takes over a QEMU that somebody else started. What QEMU can tell is compared with the document: UUID, memory and CPUs. Throws
   * HypervisorError, QmpError qemu-unreachable.
   */
  async adopt(monitorPath: string, domain: Domain, signal: AbortSignal): Promise<Guest> {
    await this.#refuseKnown(domain);
    await refuseOwn(monitorPath, this.#options.protectedPaths ?? []);
    const monitor = await connectTo(monitorPath, signal);
    try {
      await compareWithQemu(monitor, domain, signal);
      const process = await listenerOf(monitorPath);
      if (process === undefined) {
        throw new HypervisorError('domain-not-running', `no process of this host listens on ${monitorPath}`);
      }
      const definition: Definition = { uuid: domain.uuid, name: domain.name, adoptedMonitor: monitorPath };
      await this.#write(definition, domain);
      await this.#directory.recordProcess(domain.uuid, process);
      this.#keep(domain.uuid, Promise.resolve(monitor));
      return { ...definition, process, monitor };
    } catch (error) {
      await monitor[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Removes what a guest that ended by itself has left here; the end of its log is kept. Nothing of one that is coming in: that is for its
   * migration to settle. Gives whether there was something.
   */
  async collectEnded(uuid: string): Promise<boolean> {
    if (this.#directory.definition(uuid)?.incoming !== undefined) return false;
    return (await this.#directory.has(uuid)) && this.#collect(uuid);
  }

  /** Bounds what this host's guests make their QEMUs write. */
  async trimLogs(): Promise<void> {
    for (const uuid of await this.#directory.uuids()) {
      await this.#directory.trimLog(uuid);
      // What a QEMU of somebody else's writes is theirs.
      const process = this.#directory.definition(uuid)?.adoptedMonitor === undefined && this.#directory.process(uuid);
      if (process && isAliveNow(process)) await cutGrown(process.pid, this.#options.guestLogBytesMax ?? Infinity);
    }
  }

  /** Whether its QEMU runs, asked without waiting: the monitor's end may not be read yet. */
  isAlive(guest: Pick<Guest, 'process'>): boolean {
    return isAliveNow(guest.process);
  }

  /** For a guest that is sent while it does not run: its run state, which QEMU will have forgotten if it is taken back. */
  noteStopped(uuid: string, runState: string): Promise<void> {
    return this.#directory.noteStopped(uuid, runState);
  }

  /** The run state of a guest that was sent while it did not run, and is here again; `paused` if no other was noted. */
  stoppedAs(uuid: string): string {
    return this.#directory.stoppedAs(uuid) ?? 'paused';
  }

  /** A QEMU that waits for its guest takes it only from one that has the credentials. Throws QmpError, the errors of the file system. */
  async expectEncrypted(guest: Guest, credentials: MemoryCredentials, signal: AbortSignal): Promise<void> {
    const { dir } = this.#directory.paths(guest.uuid);
    const creds = await giveMemoryCredentials(
      guest.monitor,
      { dir, user: this.#options.user },
      credentials,
      'server',
      signal,
    );
    if (creds !== '') await guest.monitor.execute('migrate-set-parameters', { 'tls-creds': creds }, signal);
  }

  /** What `tls-creds` of a guest that is to be sent must be, its QEMU having the credentials then. Throws QmpError, the errors of the file system. */
  sendEncrypted(
    guest: Pick<Guest, 'uuid' | 'monitor'>,
    credentials: MemoryCredentials,
    signal: AbortSignal,
  ): Promise<string> {
    const { dir } = this.#directory.paths(guest.uuid);
    return giveMemoryCredentials(guest.monitor, { dir, user: this.#options.user }, credentials, 'client', signal);
  }

  /** See `watchHandshakes`; of a QEMU whose memory is encrypted. */
  watchHandshakes(
    guest: Pick<Guest, 'process' | 'monitor'>,
    where: MemoryPort,
    limitMs: number,
    ended: (peer: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return watchHandshakes(guest, where, limitMs, ended, signal);
  }

  /** The migration's key is no longer needed, or the guest stays here. */
  forgetEncryption(guest: Pick<Guest, 'uuid' | 'monitor'>): Promise<void> {
    return takeMemoryCredentials(guest.monitor, this.#directory.paths(guest.uuid).dir);
  }

  /** A guest that came in, or was started, belongs here from now on. */
  async settle(guest: Pick<Guest, 'uuid' | 'name'>): Promise<void> {
    const { uuid, name } = guest;
    await this.#directory.redefine({ uuid, name });
  }

  /**
   * Ends a QEMU and removes its directory. `kill` for a copy whose guest does not run here and whose disks are inactive: there is
   * nothing to write back. `quit` lets QEMU close its disks first. Once it has ended its domain may be started again: that directory stays.
   */
  async end(guest: Pick<Guest, 'uuid' | 'process' | 'monitor'>, how: 'quit' | 'kill'): Promise<void> {
    const place = this.#directory.placeVersion(guest.uuid);
    if (how === 'quit') {
      const patience = AbortSignal.timeout(quitMs);
      await guest.monitor.execute('quit', {}, patience).catch(() => undefined);
      await waitGone(guest.process, patience).catch(() => undefined);
    }
    const closed = once(guest.monitor.closed, 'abort', { signal: AbortSignal.timeout(killMs) });
    closed.catch(() => undefined);
    await send(guest.process, 'SIGKILL');
    // The monitor's end tells sooner than /proc can be asked; where it is not heard of, the process's own end counts.
    const gone = waitGone(guest.process, AbortSignal.timeout(killMs));
    if (!guest.monitor.closed.aborted) await Promise.race([closed.catch(() => undefined), gone]);
    await gone;
    await guest.monitor[Symbol.asyncDispose]();
    const noted = this.#directory.process(guest.uuid);
    const isAnothers = noted !== undefined && noted.pid !== guest.process.pid;
    if (isAnothers || this.#directory.placeVersion(guest.uuid) !== place) return;
    this.#domains.delete(guest.uuid);
    await this.#directory.remove(guest.uuid);
  }

  /** QEMU's last words, for the message of an error. */
  logTail(uuid: string): Promise<string> {
    return this.#directory.logTail(uuid);
  }

  /** Closes the monitors; the QEMUs go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.admission[Symbol.asyncDispose]();
    await this.#spawner[Symbol.asyncDispose]();
    for (const connecting of this.#monitors.values()) {
      const monitor = await connecting.catch(() => undefined);
      await monitor?.[Symbol.asyncDispose]();
    }
  }
}

/** A QEMU that starts takes a processor for some tens of milliseconds: more at once than there are would only keep each other, and the agent, waiting. */
const launches = new Turns(Math.max(2, availableParallelism()));

const launchInTurn = (order: Launch, signal: AbortSignal): Promise<Launched> =>
  launches.run(() => launch(order, signal), signal);

/** A monitor of the agent's own is no other program's. What is not there is for the connection to tell. Throws HypervisorError file-refused. */
async function refuseOwn(monitorPath: string, own: readonly string[]): Promise<void> {
  const real = await realpath(monitorPath).catch(() => resolve(monitorPath));
  const around = own.find((path) => real === path || real.startsWith(`${path}/`));
  if (around === undefined) return;
  const where = real === monitorPath ? '' : ` is really ${real}, which`;
  throw new HypervisorError('file-refused', `${monitorPath}${where} lies in ${around}, which is the agent's own`);
}

/** A QEMU that runs answers at once; one that somebody else's monitor client keeps busy never does. */
async function connectTo(monitorPath: string, signal: AbortSignal): Promise<Monitor> {
  const patience = AbortSignal.timeout(quitMs);
  try {
    return await Monitor.connect(monitorPath, AbortSignal.any([signal, patience]));
  } catch (cause) {
    if (signal.aborted || !patience.aborted) throw cause;
    const message = `no QEMU answers on ${monitorPath} within ${quitMs} ms: give a monitor socket that nobody else uses`;
    throw new QmpError('qemu-unreachable', message, { cause });
  }
}

async function compareWithQemu(monitor: Monitor, domain: Domain, signal: AbortSignal): Promise<void> {
  const [{ UUID: uuid }, memory, cpus, { status }] = await Promise.all([
    monitor.execute('query-uuid', {}, signal),
    monitor.execute('query-memory-size-summary', {}, signal),
    monitor.execute('query-cpus-fast', {}, signal),
    monitor.execute('query-status', {}, signal),
  ]);
  const differences = [
    uuid === domain.uuid ? undefined : `UUID ${uuid} instead of ${domain.uuid}`,
    memory['base-memory'] === domain.memoryBytes
      ? undefined
      : `${memory['base-memory']} bytes of memory instead of ${domain.memoryBytes}`,
    cpus.length === domain.vcpus ? undefined : `${cpus.length} CPUs instead of ${domain.vcpus}`,
    status === 'running' || status === 'paused' ? undefined : `state ${status}`,
  ].filter((difference) => difference !== undefined);
  if (differences.length > 0) {
    throw new HypervisorError(
      'domain-not-running',
      `the QEMU is not domain ${domain.name} as its XML has it: ${differences.join(', ')}`,
    );
  }
}
