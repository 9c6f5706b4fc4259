/** The migrations of a schedule, one caller after the other: the guest is asked for where it is. */
import { Caller } from './callers.ts';
import type { HostName } from './host.ts';
import type { Leg } from './plan.ts';
import type { World } from './world.ts';

/** How often, and how long, a caller looks for the guest, ms. */
const lookMs = 50;
const lookMsMax = 30_000;

export class Journey {
  readonly #world: World;
  readonly #left: Leg[];
  #lastId = '';
  /** Nobody wants anything any more. */
  done = false;

  constructor(world: World) {
    this.#world = world;
    const [first, ...more] = world.plan.legs;
    this.#left = more;
    this.#begin(first, 'a');
  }

  #next(): void {
    const leg = this.#left.shift();
    this.done = leg === undefined;
    if (leg === undefined) return;
    const { timeline } = this.#world;
    timeline.after(undefined, leg.gapMs, () => this.#look(leg, timeline.now + lookMsMax));
  }

  #look(leg: Leg, untilMs: number): void {
    const { timeline, qemus } = this.#world;
    // A guest that has ended is asked for no more.
    const isSomewhere = qemus.some(({ alive, whole }) => alive && whole);
    const isHere = (state: string): boolean => state === 'running' || state === 'paused';
    const copy = qemus.find(({ alive, whole, runState }) => alive && whole && isHere(runState));
    if (copy !== undefined && copy.host !== leg.to) this.#begin(leg, copy.host);
    else if (copy === undefined && isSomewhere && timeline.now < untilMs)
      timeline.after(undefined, lookMs, () => this.#look(leg, untilMs));
    else this.#next();
  }

  #begin(leg: Leg, from: HostName): void {
    const { random, trace } = this.#world;
    if (!leg.sameId || this.#lastId === '') this.#lastId = random.uuid();
    trace?.(`migration ${this.#lastId} from ${from} to ${leg.to}`);
    this.#world.leg = { from, to: leg.to };
    const caller = { ...leg, from, migrationId: this.#lastId };
    void new Caller(this.#world, caller, () => this.#next());
  }
}
