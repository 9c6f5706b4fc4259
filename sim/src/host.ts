/** A host: its QEMUs and their directories, which survive the agents; and the hypervisor as one life of an agent has it. */
import { once } from 'node:events';
import type { Domain } from '@ferry/domain-xml';
import { type Guest, HypervisorError, type Hypervisor } from '@ferry/hypervisor';
import { Monitor, type RunState } from '@ferry/qemu-qmp';
import { domainIn } from './documents.ts';
import { Disk } from './journals.ts';
import { Qemu, type Side } from './qemu.ts';
import type { Life } from './timeline.ts';
import type { World } from './world.ts';

interface Definition {
  readonly uuid: string;
  readonly name: string;
  readonly incoming?: string;
  readonly starting?: true;
}

/** A domain's directory. */
interface Place {
  definition: Definition;
  readonly xml: string;
  qemu: Qemu | undefined;
  readonly madeAtMs: number;
  stoppedAs?: string;
}

export const hostNames = ['a', 'b', 'c'] as const;
export type HostName = (typeof hostNames)[number];

export class Host {
  readonly name: HostName;
  readonly uuid: string;
  readonly places = new Map<string, Place>();
  readonly disks: Readonly<Record<Side, Disk>> = { source: new Disk(), dest: new Disk() };
  /** The next QEMU ends while it starts. */
  startFails = false;
  /** It has gone for good, and all that ran on it. */
  gone = false;
  /** Set by a fault: so many times `cont` is refused, another process has the disk's lock. */
  locked = 0;

  constructor(name: HostName, uuid: string) {
    this.name = name;
    this.uuid = uuid;
  }
}

/** A directory in which no QEMU was ever noted down is left over once it is this old. */
const leftoverMs = 60_000;
const quitMs = 5_000;

type HypervisorParts = Pick<Hypervisor, keyof Hypervisor>;

/** Every host can take every guest: what is refused before anything has begun needs no schedule. */
const admission: HypervisorParts['admission'] = {
  read: domainIn,
  readGiven: async (xml) => domainIn(xml),
  readForElsewhere: async (xml) => domainIn(xml),
  [Symbol.asyncDispose]: async () => undefined,
  problems: async () => [],
  asTold: async (domain) => domain,
  warmUp: () => undefined,
  missingFeatures: async () => ({ required: [], ofModel: [] }),
  cpuProblem: async () => undefined,
  incomingCpuProblem: async () => undefined,
  hazards: async () => [],
  notes: async () => [],
};

export class SimHypervisor implements HypervisorParts {
  readonly admission = admission;
  readonly #world: World;
  readonly #life: Life;
  readonly #host: Host;
  readonly #side: Side;
  readonly #monitors = new Map<string, Promise<Monitor>>();
  readonly #guests = new Map<string, Guest>();

  constructor(world: World, life: Life, host: Host, side: Side) {
    this.#world = world;
    this.#life = life;
    this.#host = host;
    this.#side = side;
  }

  async readGiven(xml: string): Promise<Domain> {
    return domainIn(xml);
  }

  read(xml: string): Domain {
    return domainIn(xml);
  }

  async domainOf(uuid: string): Promise<Domain> {
    return domainIn(await this.xmlOf(uuid));
  }

  xmlOf(uuid: string): Promise<string> {
    return this.#look(() => {
      const place = this.#host.places.get(uuid);
      if (place === undefined)
        throw new HypervisorError('domain-not-found', `domain ${uuid} is not on this host any more`);
      return place.xml;
    });
  }

  list(): Promise<Definition[]> {
    return this.#look(() => this.#running().toSorted((a, b) => (a.name < b.name ? -1 : 1)));
  }

  places(): Promise<string[]> {
    return this.#look(() => [...this.#host.places.keys()]);
  }

  leftBehind(): Promise<Definition[]> {
    const isGone = ({ qemu }: Place): boolean => qemu?.alive !== true;
    return this.#look(() => [...this.#host.places.values()].filter(isGone).map((place) => place.definition));
  }

  #running(): Definition[] {
    return [...this.#host.places.values()].filter(({ qemu }) => qemu?.alive === true).map((place) => place.definition);
  }

  find(nameOrUuid: string): Promise<Definition> {
    return this.#look(() => {
      const found = this.#running().find((d) => d.uuid === nameOrUuid.toLowerCase() || d.name === nameOrUuid);
      if (found !== undefined) return found;
      throw new HypervisorError('domain-not-found', `no domain ${nameOrUuid} runs on this host`);
    });
  }

  async runState(guest: Pick<Guest, 'monitor'>, _keptMs: number, signal: AbortSignal): Promise<RunState> {
    return (await guest.monitor.execute('query-status', {}, signal)).status;
  }

  async guest(nameOrUuid: string, signal: AbortSignal): Promise<Guest> {
    const known = this.#guests.get(nameOrUuid.toLowerCase());
    if (known !== undefined) return known;
    const definition = await this.find(nameOrUuid);
    const qemu = this.#host.places.get(definition.uuid)?.qemu;
    if (qemu === undefined || !qemu.alive) throw new HypervisorError('domain-not-found', 'the QEMU ended just now');
    const monitor = await this.#monitorOf(qemu, signal);
    const guest: Guest = { ...definition, process: identityOf(qemu), monitor };
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

  #monitorOf(qemu: Qemu, signal: AbortSignal): Promise<Monitor> {
    const known = this.#monitors.get(qemu.uuid);
    if (known !== undefined) return known;
    const patience = AbortSignal.any([signal, AbortSignal.timeout(quitMs)]);
    const connecting = Monitor.open(qemu.connect(this.#life, this.#side), patience);
    this.#keep(qemu.uuid, connecting);
    return connecting;
  }

  #keep(uuid: string, connecting: Promise<Monitor>): void {
    this.#monitors.set(uuid, connecting);
    const forget = (): void => {
      if (this.#monitors.get(uuid) === connecting) this.#monitors.delete(uuid);
    };
    connecting.then((monitor) => monitor.closed.addEventListener('abort', forget, { once: true }), forget);
  }

  async known({ uuid, name }: Domain): Promise<HypervisorError | undefined> {
    const one = (await this.list()).find((known) => known.uuid === uuid || known.name === name);
    return one && new HypervisorError('domain-exists', `domain ${one.name} is on this host already`);
  }

  async create(domain: Domain, incoming: string | undefined, signal: AbortSignal): Promise<Guest> {
    const { uuid, name } = domain;
    const definition: Definition = { uuid, name, ...(incoming === undefined ? { starting: true } : { incoming }) };
    const known = await this.known(domain);
    if (known !== undefined) throw known;
    await this.#look(() => this.#collect(uuid));
    const place = await this.#act('directory', () => this.#makePlace(definition));
    try {
      const qemu = await this.#act('spawn', () => this.#start(place));
      const launching = this.#launch(qemu, signal);
      this.#keep(uuid, launching);
      const monitor = await launching;
      return { ...definition, process: identityOf(qemu), monitor };
    } catch (error) {
      await this.#act('undo', () => {
        place.qemu?.die('agent');
        this.#remove(uuid);
      });
      throw error;
    }
  }

  async #launch(qemu: Qemu, signal: AbortSignal): Promise<Monitor> {
    await this.#world.pause(this.#life, this.#world.random.scale(5, 60));
    signal.throwIfAborted();
    if (this.#host.startFails) throw new HypervisorError('qemu-start-failed', 'the QEMU ended with status 1');
    return Monitor.open(qemu.connect(this.#life, this.#side), signal);
  }

  #makePlace(definition: Definition): Place {
    if (this.#host.places.has(definition.uuid))
      throw new HypervisorError('domain-exists', `domain ${definition.name} has a place on this host already`);
    const place: Place = { definition, xml: this.#world.xml, qemu: undefined, madeAtMs: this.#world.timeline.now };
    this.#host.places.set(definition.uuid, place);
    return place;
  }

  #start(place: Place): Qemu {
    const qemu = new Qemu(this.#world, this.#host.name, place.definition.uuid, place.definition.incoming);
    place.qemu = qemu;
    this.#world.qemus.push(qemu);
    // The agent was in the middle of this when its host went.
    if (this.#host.gone) qemu.die('fault');
    return qemu;
  }

  #remove(uuid: string): void {
    this.#host.places.delete(uuid);
  }

  #collect(uuid: string): boolean {
    const place = this.#host.places.get(uuid);
    if (place?.qemu?.alive === true) return false;
    // As the real one: a directory that is not there is of no age.
    if (
      place?.qemu === undefined &&
      this.#world.timeline.now - (place?.madeAtMs ?? this.#world.timeline.now) < leftoverMs
    )
      return false;
    this.#remove(uuid);
    return true;
  }

  collectEnded(uuid: string): Promise<boolean> {
    return this.#act('collect', () => {
      const place = this.#host.places.get(uuid);
      return place !== undefined && place.definition.incoming === undefined && this.#collect(uuid);
    });
  }

  trimLogs(): Promise<void> {
    return Promise.resolve();
  }

  collect(of?: readonly string[]): Promise<string[]> {
    return this.#act('collect', () => [...(of ?? this.#host.places.keys())].filter((uuid) => this.#collect(uuid)));
  }

  adopt(): Promise<Guest> {
    return Promise.reject(new HypervisorError('domain-not-running', 'nothing is adopted in a simulation'));
  }

  isAlive(guest: Pick<Guest, 'process'>): boolean {
    return this.#processOf(guest)?.alive === true;
  }

  #processOf({ process }: Pick<Guest, 'process'>): Qemu | undefined {
    return this.#world.qemus.find((qemu) => qemu.host === this.#host.name && qemu.pid === process.pid);
  }

  settle({ uuid, name }: Pick<Guest, 'uuid' | 'name'>): Promise<void> {
    return this.#act('settle', () => {
      const place = this.#host.places.get(uuid);
      if (place === undefined) throw Object.assign(new Error('ENOENT: no such file or directory'), { code: 'ENOENT' });
      place.definition = { uuid, name };
      if (place.qemu?.incoming === true) place.qemu.settled = true;
    });
  }

  expectEncrypted(): Promise<void> {
    return Promise.resolve();
  }

  sendEncrypted(): Promise<string> {
    return Promise.resolve('');
  }

  watchHandshakes(): Promise<void> {
    return Promise.resolve();
  }

  forgetEncryption(): Promise<void> {
    return Promise.resolve();
  }

  noteStopped(uuid: string, runState: string): Promise<void> {
    return this.#act('note run state', () => {
      const place = this.#host.places.get(uuid);
      if (place !== undefined) place.stoppedAs = runState;
    });
  }

  stoppedAs(uuid: string): string {
    return this.#host.places.get(uuid)?.stoppedAs ?? 'paused';
  }

  async end(guest: Pick<Guest, 'uuid' | 'process' | 'monitor'>, how: 'quit' | 'kill'): Promise<void> {
    if (how === 'quit') {
      const qemu = this.#processOf(guest);
      if (qemu !== undefined) this.#world.rules.destroying(qemu);
      await guest.monitor.execute('quit', {}, AbortSignal.timeout(quitMs)).catch(() => undefined);
      await this.#world.pause(this.#life, 5);
    }
    const closed = guest.monitor.closed.aborted ? undefined : once(guest.monitor.closed, 'abort');
    await this.#act('kill', () => this.#processOf(guest)?.die('agent'));
    await closed;
    await guest.monitor[Symbol.asyncDispose]();
    await this.#act('remove directory', () => {
      // Its domain may have been started again.
      if (this.#host.places.get(guest.uuid)?.qemu === this.#processOf(guest)) this.#remove(guest.uuid);
    });
  }

  logTail(): Promise<string> {
    return this.#look(() => '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connecting of this.#monitors.values()) {
      const monitor = await connecting.catch(() => undefined);
      await monitor?.[Symbol.asyncDispose]();
    }
  }

  /** What cannot be interrupted half-way: a fault comes before it or after it. */
  #act<T>(what: string, effect: () => T): Promise<T> {
    return this.#world.act(this.#life, what, effect);
  }

  #look<T>(see: () => T): Promise<T> {
    return this.#world.act(this.#life, undefined, see);
  }
}

const identityOf = (qemu: Qemu) => ({ pid: qemu.pid, startTime: String(qemu.pid) });
