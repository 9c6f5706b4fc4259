/** All that a schedule plays with: the hosts, Redis, the network, and what must hold of them. */
import { AgentProcess } from './agents.ts';
import { Host, type HostName } from './host.ts';
import { Network } from './network.ts';
import type { Plan } from './plan.ts';
import { Qemu, type Side } from './qemu.ts';
import type { Random } from './random.ts';
import { SimRedis } from './redis.ts';
import { Rules } from './rules.ts';
import type { Life, Timeline } from './timeline.ts';

/** The guest's document; its disk is shared by both hosts. */
const xml = (uuid: string): string =>
  `<domain type="qemu"><name>web-1</name><uuid>${uuid}</uuid><memory unit="MiB">64</memory><vcpu>1</vcpu>` +
  '<os><type arch="x86_64" machine="pc-q35-7.2">hvm</type></os><devices/></domain>';

export const guestUuid = '22222222-2222-4222-8222-222222222222';

export class World {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly plan: Plan;
  readonly trace: ((line: string) => void) | undefined;
  readonly xml = xml(guestUuid);
  readonly redis: SimRedis;
  readonly network: Network;
  readonly rules: Rules;
  readonly hosts: Readonly<Record<HostName, Host>>;
  /** Those that run in this schedule. */
  readonly agents: readonly AgentProcess[];
  /** The migration that was asked for last. */
  leg: { readonly from: HostName; readonly to: HostName } = { from: 'a', to: 'b' };
  /** All that ever were. */
  readonly qemus: Qemu[] = [];
  readonly listeners = new Map<string, Qemu>();
  /** The connections that memory flows through. */
  readonly streams = { open: true, reset: false };
  #acts = 0;

  constructor(parts: Pick<World, 'timeline' | 'random' | 'plan' | 'trace'>) {
    this.timeline = parts.timeline;
    this.random = parts.random;
    this.plan = parts.plan;
    this.trace = parts.trace;
    this.redis = new SimRedis(this.random, () => this.timeline.wallMs);
    this.network = new Network(this);
    this.rules = new Rules(this);
    const host = (name: HostName): Host => new Host(name, this.random.uuid());
    this.hosts = { a: host('a'), b: host('b'), c: host('c') };
    this.agents = this.plan.agents.map(([side, name]) => new AgentProcess(this, this.hosts[name], side));
    this.#bootGuest();
    for (const agent of this.agents) agent.start(0);
  }

  #bootGuest(): void {
    const guest = new Qemu(this, 'a', guestUuid);
    this.qemus.push(guest);
    this.hosts.a.places.set(guestUuid, {
      definition: { uuid: guestUuid, name: 'web-1' },
      xml: this.xml,
      qemu: guest,
      madeAtMs: 0,
    });
    guest.whole = true;
    const { newest } = this.redis;
    const since = { sinceMs: String(this.timeline.wallMs), incarnation: newest.incarnation };
    newest.put(`ferry:{${guestUuid}}:owner`, { host: 'a', epoch: '1', evidence: 'started', name: 'web-1', ...since });
    guest.runState = this.plan.paused ? 'paused' : 'running';
  }

  /** An agent of this schedule. */
  agent(side: Side, host: HostName): AgentProcess {
    const found = this.agents.find((agent) => agent.side === side && agent.host.name === host);
    if (found === undefined) throw new Error(`no ${side} agent runs on host ${host} in this schedule`);
    return found;
  }

  /** The latest migration's agent of that side. */
  party(side: Side): AgentProcess {
    return this.agent(side, side === 'source' ? this.leg.from : this.leg.to);
  }

  /** One of the moments at which a fault may strike: an agent is about to act on the world, or has just done so. */
  boundary(label: string, when: 'before' | 'after'): void {
    this.#acts += 1;
    this.trace?.(`#${this.#acts} ${when} ${label}`);
    this.plan.strikeAt(this.#acts, label, when, this);
  }

  /** An act of a life on its host that takes a moment. Without a label it changes nothing, and no fault waits for it. */
  act<T>(life: Life, label: string | undefined, effect: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (label !== undefined) this.boundary(`${life.name} ${label}`, 'before');
      if (life.dead) return;
      this.timeline.after(undefined, this.random.scale(0.02, 0.5), () => {
        // Interrupted by a crash, it has been done or not.
        if (life.dead && this.random.chance(0.5)) return;
        let result: T;
        try {
          result = effect();
        } catch (error) {
          this.timeline.after(life, 0, () => reject(error));
          return;
        }
        if (label !== undefined) this.boundary(`${life.name} ${label}`, 'after');
        this.timeline.after(life, 0, () => resolve(result));
      });
    });
  }

  pause(life: Life, ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.timeline.after(life, ms, resolve);
    });
  }

  /** Everything works again. What a fault ended stays ended. */
  heal(): void {
    this.trace?.('all is healed');
    this.redis.heal();
    this.network.heal();
    this.streams.open = true;
    this.streams.reset = false;
    for (const host of Object.values(this.hosts)) {
      Object.assign(host, { startFails: false, locked: 0 });
      host.disks.source.readable = true;
      host.disks.dest.readable = true;
    }
    for (const { life } of this.agents) this.timeline.goOn(life);
  }
}
