/** What a schedule is going to do, drawn from its seed: who calls how, and which faults strike when. */
import { type Fault, faults } from './faults.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** When a fault strikes: at a time, or when an agent acts on the world for the so-manieth time. */
type Moment = { readonly atMs: number } | { readonly atAct: number };

export interface Strike {
  readonly fault: Fault;
  readonly moment: Moment;
  struck: boolean;
}

export interface CallerPlan {
  readonly drives: 'agent' | 'itself';
  readonly protocol: 2 | 3;
  /** It ends without a word. */
  readonly vanishesAtMs: number | undefined;
  /** Calls that it should not make, and when. */
  readonly misdeedsAtMs: readonly number[];
  /** It calls Finish while the guest is still being sent. */
  readonly finishesEarly: boolean;
  /** It repeats a call that got no answer. */
  readonly repeats: boolean;
}

/** What whoever runs the schedules wants of them. */
export interface PlanWish {
  /** Faults in one schedule, at most. */
  readonly faultsMax: number;
  /** Callers do as they should, and QEMU always succeeds. */
  readonly calm: boolean;
  readonly outcomesOnly: boolean;
}

/** Acts of the agents in a migration without faults, about. */
const actsOfOne = 130;
/** A fault that waits for a later one strikes while things are mended. */
const actsMax = 320;

const wellBehaved = { vanishesAtMs: undefined, misdeedsAtMs: [], finishesEarly: false } as const;

export class Plan {
  readonly caller: CallerPlan;
  readonly paused: boolean;
  /** Memory takes so long at most, ms. */
  readonly memoryMsMax: number;
  /** An agent is started again within so many ms. */
  readonly restartMsMax: number;
  /** The destination cannot load the guest. */
  readonly loadFailure: boolean;
  /** The destination has loaded the guest, and the source fails all the same. */
  readonly lateFailure: boolean;
  readonly strikes: readonly Strike[];
  /** When everything works again. */
  readonly healsAtMs: number;
  /** Only what becomes of the guest counts, not whether each step is one of the model's. */
  readonly outcomesOnly: boolean;
  healed = false;

  constructor(random: Random, { faultsMax, calm, outcomesOnly }: PlanWish) {
    this.outcomesOnly = outcomesOnly;
    this.paused = random.chance(0.1);
    this.memoryMsMax = random.scale(5, 3_000);
    this.restartMsMax = random.scale(2, 3_000);
    this.loadFailure = !calm && random.chance(0.04);
    this.lateFailure = !calm && random.chance(0.1);
    const count = random.below(faultsMax + 1);
    this.healsAtMs = count === 0 ? 0 : random.scale(300, random.chance(0.1) ? 300_000 : 25_000);
    this.caller = { ...this.#caller(random), ...(calm ? wellBehaved : {}) };
    this.strikes = Array.from({ length: count }, () => this.#strike(random));
  }

  #caller(random: Random): CallerPlan {
    const misdeeds = random.chance(0.25) ? 1 + random.below(4) : 0;
    return {
      drives: random.chance(0.5) ? 'agent' : 'itself',
      protocol: random.chance(0.65) ? 3 : 2,
      vanishesAtMs: random.chance(0.12) ? random.scale(1, 2_000) : undefined,
      misdeedsAtMs: Array.from({ length: misdeeds }, () => random.scale(1, this.memoryMsMax * 2)),
      finishesEarly: random.chance(0.06),
      repeats: random.chance(0.3),
    };
  }

  #strike(random: Random): Strike {
    const fault = random.pick(faults)(random);
    const moment: Moment = random.chance(0.75)
      ? { atAct: 1 + random.below(random.chance(0.75) ? actsOfOne : actsMax) }
      : { atMs: random.scale(0.5, this.healsAtMs) };
    return { fault, moment, struck: false };
  }

  /** Sets the faults that strike at a time. */
  begin(world: World): void {
    for (const strike of this.strikes) {
      if ('atMs' in strike.moment) world.timeline.after(undefined, strike.moment.atMs, () => this.#let(strike, world));
    }
    world.timeline.after(undefined, this.healsAtMs, () => {
      this.healed = true;
      world.heal();
    });
  }

  strikeAt(act: number, world: World): void {
    if (this.healed) return;
    for (const strike of this.strikes) {
      if ('atAct' in strike.moment && strike.moment.atAct === act) this.#let(strike, world);
    }
  }

  #let(strike: Strike, world: World): void {
    if (strike.struck || this.healed) return;
    strike.struck = true;
    world.trace?.(`FAULT ${strike.fault.name}`);
    strike.fault.strike(world);
  }

  /** For people: what was drawn. */
  describe(): string {
    const { drives, protocol, vanishesAtMs, misdeedsAtMs, finishesEarly } = this.caller;
    const words = [
      `v${protocol}, ${drives === 'agent' ? 'peer to peer' : 'driven by the caller'}`,
      ...(this.paused ? ['guest paused'] : []),
      ...(this.loadFailure ? ['load fails'] : []),
      ...(this.lateFailure ? ['source fails late'] : []),
      ...(vanishesAtMs === undefined ? [] : [`caller vanishes at ${vanishesAtMs.toFixed(1)} ms`]),
      ...(misdeedsAtMs.length === 0 ? [] : [`${misdeedsAtMs.length} misdeeds`]),
      ...(finishesEarly ? ['Finish is called early'] : []),
      ...this.strikes.map(({ fault, moment, struck }) => {
        const when = 'atMs' in moment ? `at ${moment.atMs.toFixed(1)} ms` : `at act ${moment.atAct}`;
        return `${fault.name} ${when}${struck ? '' : ' (did not strike)'}`;
      }),
      `healed at ${this.healsAtMs.toFixed(0)} ms`,
    ];
    return words.join('; ');
  }
}
