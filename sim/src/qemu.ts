/**
 * One QEMU process as its monitors show it, from its start to its end: run states, commands and events as QEMU 7.2 has them. What it does by
 * itself is in transfer.ts.
 */
import type { Duplex } from 'node:stream';
import { devicesIn } from './documents.ts';
import { MonitorLine } from './monitor-line.ts';
import type { HostName } from './host.ts';
import type { Life } from './timeline.ts';
import { Transfer } from './transfer.ts';
import type { World } from './world.ts';

export type RunState = 'prelaunch' | 'inmigrate' | 'running' | 'paused' | 'finish-migrate' | 'postmigrate';
export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'active'
  | 'pre-switchover'
  | 'device'
  | 'cancelling'
  | 'cancelled'
  | 'completed'
  | 'failed';
export type Side = 'source' | 'dest';

/** QEMU refuses a command. */
class Refusal extends Error {}

interface Client {
  readonly line: MonitorLine;
  begun: string;
}

const capabilityNames = [
  'xbzrle',
  'auto-converge',
  'events',
  'postcopy-ram',
  'return-path',
  'pause-before-switchover',
  'late-block-activate',
  'multifd',
] as const;

export class Qemu {
  readonly pid: number;
  readonly host: HostName;
  readonly uuid: string;
  /** The migration that it was started to wait for. */
  readonly migrationId: string | undefined;
  readonly #world: World;
  alive = true;
  /** It holds the whole guest: one that waits for a guest does not before it has loaded it, and one that is started not before it runs. */
  whole: boolean;
  /** How often the guest had been started before it was in here: what is older than the newest must not run. */
  generation = 0;
  /** It is a guest of its host as any other: the migration into here is over. */
  settled = false;
  runState: RunState;
  /** Either direction's, as `query-migrate` shows it. */
  status: MigrationStatus = 'none';
  /** The one into here. */
  arrival: Transfer | undefined;
  /** The latest one out of here. */
  departure: Transfer | undefined;
  /** `cont` came before the guest was loaded: QEMU will start it then, unsupervised. */
  #startsItself = false;
  readonly #capabilities = new Map<string, boolean>(capabilityNames.map((name) => [name, false]));
  /** Who is connected to each monitor; QEMU serves the first, the others wait. */
  readonly #clients: Record<Side, Client[]> = { source: [], dest: [] };

  constructor(world: World, host: HostName, uuid: string, migrationId?: string) {
    this.#world = world;
    this.pid = world.qemus.length + 1;
    this.host = host;
    this.uuid = uuid;
    this.migrationId = migrationId;
    this.whole = false;
    this.runState = this.incoming ? 'inmigrate' : 'prelaunch';
  }

  get incoming(): boolean {
    return this.migrationId !== undefined;
  }

  get label(): string {
    return `qemu@${this.host} (pid ${this.pid})`;
  }

  get running(): boolean {
    return this.alive && this.runState === 'running';
  }

  /** A new connection of an agent's life to its monitor. */
  connect(life: Life, side: Side): Duplex {
    const clients = this.#clients[side];
    const line: MonitorLine = new MonitorLine(
      this.#world,
      life,
      (text) => this.#receive(client, text),
      () => this.#leave(side, client),
    );
    const client: Client = { line, begun: '' };
    clients.push(client);
    if (!this.alive) line.end();
    else if (clients[0] === client) this.#greet(client);
    return line as unknown as Duplex;
  }

  #greet({ line }: Client): void {
    line.say(
      '{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":"simulated"},"capabilities":["oob"]}}\r\n',
    );
  }

  #leave(side: Side, client: Client): void {
    const clients = this.#clients[side];
    const at = clients.indexOf(client);
    if (at !== -1) clients.splice(at, 1);
    const [next] = clients;
    if (at === 0 && next !== undefined && this.alive) this.#greet(next);
  }

  #receive(client: Client, text: string): void {
    if (!this.alive) return;
    const lines = (client.begun + text).split('\n');
    client.begun = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '' || !this.alive) continue;
      const {
        execute,
        id,
        arguments: args = {},
      } = JSON.parse(line) as {
        execute: string;
        id: number;
        arguments?: Record<string, unknown>;
      };
      let reply: object;
      try {
        if ('' in args) throw new Refusal("Parameter '' is unexpected");
        reply = { return: this.#carryOut(execute, args) };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        reply = { error: { class: 'GenericError', desc: error.message } };
      }
      this.#world.trace?.(`${this.label} ${execute} → ${JSON.stringify(reply)}`);
      client.line.say(`${JSON.stringify({ ...reply, id })}\r\n`);
    }
  }

  #emit(event: string, data: object): void {
    this.#world.trace?.(`${this.label} ${event} ${JSON.stringify(data)}`);
    const us = Math.round(this.#world.timeline.wallMs * 1000);
    const timestamp = { seconds: Math.floor(us / 1e6), microseconds: us % 1e6 };
    const text = `${JSON.stringify({ timestamp, event, data })}\r\n`;
    for (const [first] of [this.#clients.source, this.#clients.dest]) first?.line.say(text);
  }

  /** Its migration changes state. */
  become(status: MigrationStatus): void {
    this.status = status;
    if (this.#capabilities.get('events') === true) this.#emit('MIGRATION', { status });
  }

  has(capability: string): boolean {
    return this.#capabilities.get(capability) === true;
  }

  /** The CPUs start. */
  run(): void {
    if (this.runState === 'running') return;
    this.runState = 'running';
    this.whole ||= !this.incoming;
    this.#emit('RESUME', {});
    this.#world.rules.running(this);
  }

  /** The CPUs stop, if they ran. */
  halt(as: RunState): void {
    const ran = this.runState === 'running';
    this.runState = as;
    if (ran) this.#emit('STOP', {});
  }

  /** The guest has been loaded whole. */
  loaded(): void {
    this.whole = true;
    this.runState = 'paused';
    this.become('completed');
    if (this.#startsItself) this.run();
  }

  /** The process ends. */
  die(by: 'agent' | 'fault' | 'itself'): void {
    if (!this.alive) return;
    this.alive = false;
    this.#world.trace?.(`${this.label} pid ${this.pid} ends (by ${by})`);
    this.#world.rules.died(this, by);
    for (const side of ['source', 'dest'] as const) {
      for (const { line } of this.#clients[side]) line.end();
      this.#clients[side] = [];
    }
    this.arrival?.broken(this);
    this.departure?.broken(this);
  }

  #carryOut(command: string, args: Record<string, unknown>): unknown {
    switch (command) {
      case 'qmp_capabilities':
        return {};
      case 'query-status':
        return { status: this.runState, running: this.runState === 'running', singlestep: false };
      case 'qom-list': {
        const xml = this.#world.hosts[this.host].places.get(this.uuid)?.xml;
        return xml === undefined || args['path'] !== '/machine/peripheral' ? [] : devicesIn(xml);
      }
      case 'query-jobs':
      case 'query-block':
        return [];
      case 'query-migrate':
        return this.status === 'none' ? {} : { status: this.status };
      case 'query-migrate-capabilities':
        return [...this.#capabilities].map(([capability, state]) => ({ capability, state }));
      case 'migrate-set-capabilities': {
        if (this.#migrates) throw new Refusal("There's a migration process in progress");
        for (const { capability, state } of args['capabilities'] as { capability: string; state: boolean }[]) {
          this.#capabilities.set(capability, state);
        }
        return {};
      }
      case 'migrate-set-parameters':
        return {};
      case 'migrate-incoming':
        return this.#listen(String(args['uri']));
      case 'migrate':
        return this.#migrate(String(args['uri']));
      case 'migrate-continue':
        if (this.status !== 'pre-switchover') throw new Refusal(`Migration not in expected state: ${this.status}`);
        this.departure?.goOn();
        return {};
      case 'migrate_cancel':
        this.departure?.cancel();
        return {};
      case 'cont':
        return this.#cont();
      case 'stop':
        this.#startsItself = false;
        if (this.runState === 'running') this.halt('paused');
        return {};
      case 'system_powerdown':
        this.#world.timeline.after(undefined, this.#world.random.scale(1, 500), () => this.#powerOff());
        return {};
      case 'quit':
        this.#emit('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' });
        this.#world.timeline.after(undefined, 1, () => this.die('agent'));
        return {};
      default:
        throw new Refusal(`The command ${command} has not been found`);
    }
  }

  get #migrates(): boolean {
    return this.arrival?.underWay === true || this.departure?.underWay === true;
  }

  /** A guest that runs shuts down; its QEMU ends then. */
  #powerOff(): void {
    if (!this.running) return;
    this.#emit('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
    this.die('itself');
  }

  #cont(): object {
    if (this.runState === 'finish-migrate') throw new Refusal('Migration is not finalized yet');
    if (this.runState === 'inmigrate') {
      this.#startsItself = true;
      return {};
    }
    const host = this.#world.hosts[this.host];
    if (host.locked > 0) {
      host.locked -= 1;
      throw new Refusal('Failed to get "write" lock: Is another process using the image [disk.qcow2]?');
    }
    this.#world.rules.toldToRun(this);
    this.run();
    return {};
  }

  #listen(uri: string): object {
    if (!this.incoming || this.status !== 'none') throw new Refusal('The incoming migration has already been started');
    if (this.#world.listeners.has(uri)) throw new Refusal(`Failed to find an available port: Address already in use`);
    this.#world.listeners.set(uri, this);
    this.become('setup');
    return {};
  }

  #migrate(uri: string): object {
    if (this.runState === 'inmigrate') throw new Refusal('Guest is waiting for an incoming migration');
    if (this.runState === 'postmigrate') throw new Refusal("Can't migrate the vm that was migrated");
    if (this.#migrates) throw new Refusal("There's a migration process in progress");
    this.departure = new Transfer(this.#world, this, uri);
    return {};
  }
}
