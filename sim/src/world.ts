/** All that a schedule plays with: two hosts, Redis, the network, and what must hold of them. */
import { AgentProcess } from './agents.ts';
import type { Guards } from './guards.ts';
import { Host } from './host.ts';
import { Network } from './network.ts';
import type { Plan } from './plan.ts';
import { Qemu } from './qemu.ts';
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
  readonly guards: Guards;
  readonly trace: ((line: string) => void) | undefined;
  readonly xml = xml(guestUuid);
  readonly redis: SimRedis;
  readonly network: Network;
  readonly rules: Rules;
  readonly hosts: { readonly a: Host; readonly b: Host };
  readonly source: AgentProcess;
  readonly dest: AgentProcess;
  /** All that ever were. */
  readonly qemus: Qemu[] = [];
  readonly listeners = new Map<string, Qemu>();
  /** The connections that memory flows through. */
  readonly streams = { open: true, reset: false };
  #acts = 0;

  constructor(parts: Pick<World, 'timeline' | 'random' | 'plan' | 'guards' | 'trace'>) {
    this.timeline = parts.timeline;
    this.random = parts.random;
    this.plan = parts.plan;
    this.guards = parts.guards;
    this.trace = parts.trace;
    this.redis = new SimRedis(this.random, () => this.timeline.wallMs);
    this.network = new Network(this);
    this.rules = new Rules(this);
    this.hosts = { a: new Host('a', this.random.uuid()), b: new Host('b', this.random.uuid()) };
    this.source = new AgentProcess(this, this.hosts.a, 'source');
    this.dest = new AgentProcess(this, this.hosts.b, 'dest');
    this.#bootGuest();
    this.source.start(0);
    this.dest.start(0);
  }

  #bootGuest(): void {
    const guest = new Qemu(this, 'a', guestUuid, false);
    this.qemus.push(guest);
    this.hosts.a.places.set(guestUuid, {
      definition: { uuid: guestUuid, name: 'web-1' },
      xml: this.xml,
      qemu: guest,
      madeAtMs: 0,
    });
    guest.runState = this.plan.paused ? 'paused' : 'running';
    guest.hasRun = true;
  }

  /** One of the moments at which a fault may strike: an agent is about to act on the world, or has just done so. */
  boundary(label: string, when: 'before' | 'after'): void {
    this.#acts += 1;
    this.trace?.(`#${this.#acts} ${when} ${label}`);
    this.plan.strikeAt(this.#acts, this);
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
    for (const host of [this.hosts.a, this.hosts.b]) Object.assign(host, { startFails: false, locked: 0 });
    for (const { life } of [this.source, this.dest]) this.timeline.goOn(life);
  }
}
