/** What a schedule is going to do, drawn from its seed: who calls how, and which faults strike when. */
import type { Fault } from './fault.ts';
import { drawFault, drawPartialFault, type FaultKind } from './faults.ts';
import { type HostName, hostNames } from './host.ts';
import type { Side } from './qemu.ts';
import type { Random } from './random.ts';
import { type UserPlan, userActs } from './users.ts';
import type { World } from './world.ts';

/** Acts around which a moment more or less matters most. */
const crucial = [
  'ferryRegisterCommit',
  'ferryRegisterCommit',
  'ferryRegisterAbort',
  'ferryRegisterVote',
  'ferryRegisterBegin',
  'ferryRegisterRenew',
  'ferryRegisterWithdraw',
  'ferryRegisterGiveBack',
  'ferryOwnerClaim',
  'ferryOwnerRelease',
  'qmp cont',
  'qmp migrate-continue',
  'journal write -',
  'journal write aborted',
  'journal write committed',
  ' ask',
  ' checkReady',
  ' finish',
  ' confirm',
  ' kill',
] as const;

/**
 * When a fault strikes: at a time; when an agent acts on the world for the so-manieth time; or before or after an act of a kind that matters, the
 * so-manieth of its kind.
 */
type Moment =
  | { readonly atMs: number }
  | { readonly atAct: number }
  | { readonly near: (typeof crucial)[number]; readonly when: 'before' | 'after'; readonly nth: number };

export interface Strike {
  readonly fault: Fault;
  readonly moment: Moment;
  /** Acts of the kind that it waits for, so far. */
  seen: number;
  struck: boolean;
}

/** One migration that is asked for. */
export interface Leg {
  readonly caller: CallerPlan;
  /** Where to; the first one goes from a to b. */
  readonly to: HostName;
  /** Its id is that of the one before. */
  readonly sameId: boolean;
  /** After the caller of the one before is done, ms. */
  readonly gapMs: number;
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
  /** Only faults of these kinds, as many as there may be, around the acts that matter most; undefined: of all kinds. */
  readonly kinds?: readonly FaultKind[] | undefined;
}

/** Acts of the agents in a migration without faults, about. */
const actsOfOne = 130;
/** A fault that waits for a later one strikes while things are mended. */
const actsMax = 320;

/** Who owns the guest is looked after by the source agent of the host where it runs. */
const twoHosts = [
  ['source', 'a'],
  ['dest', 'b'],
  ['source', 'b'],
] as const;

const wellBehaved = { vanishesAtMs: undefined, misdeedsAtMs: [], finishesEarly: false } as const;

export class Plan {
  readonly legs: readonly [Leg, ...Leg[]];
  readonly paused: boolean;
  /** Memory takes so long at most, ms. */
  readonly memoryMsMax: number;
  /** An agent is started again within so many ms. */
  readonly restartMsMax: number;
  /** The destination cannot load the guest. */
  readonly loadFailure: boolean;
  /** The destination has loaded the guest, and the source fails all the same. */
  readonly lateFailure: boolean;
  readonly strikes: Strike[];
  /** When everything works again. */
  readonly healsAtMs: number;
  /** Only what becomes of the guest counts, not whether each step is one of the model's. */
  readonly outcomesOnly: boolean;
  /** A person judges doubts from then on, also while things go wrong; undefined: only long after everything works again. */
  readonly operatorMs: number | undefined;
  readonly users: readonly UserPlan[];
  healed = false;

  constructor(random: Random, besides: Random, { faultsMax, calm, outcomesOnly, kinds }: PlanWish) {
    this.outcomesOnly = outcomesOnly;
    this.paused = random.chance(kinds === undefined ? 0.1 : 0.3);
    this.memoryMsMax = random.scale(5, 3_000);
    this.restartMsMax = random.scale(2, 3_000);
    this.loadFailure = !calm && random.chance(0.04);
    this.lateFailure = !calm && random.chance(0.1);
    const count = kinds === undefined ? random.below(faultsMax + 1) : Math.min(faultsMax, 1 + random.below(3));
    this.healsAtMs = count === 0 ? 0 : random.scale(300, random.chance(0.1) ? 300_000 : 25_000);
    const caller = (): CallerPlan => ({ ...this.#caller(random), ...(calm ? wellBehaved : {}) });
    const more = calm || !random.chance(0.15) ? 0 : 1 + random.below(3);
    this.legs = [
      { caller: caller(), to: 'b', sameId: false, gapMs: 0 },
      ...Array.from({ length: more }, () => this.#leg(random, caller())),
    ];
    this.operatorMs = !calm && random.chance(0.15) ? random.scale(50, 20_000) : undefined;
    const acts = calm || !random.chance(0.15) ? 0 : 1 + random.below(3);
    this.users = Array.from({ length: acts }, () => this.#user(random));
    this.strikes = Array.from({ length: count }, () => this.#strike(random, drawFault(random, kinds), kinds));
    // From chance of its own: all else of the seed is what it is without this.
    if (count > 0 && kinds === undefined && besides.chance(0.15))
      this.strikes.push(this.#strike(besides, drawPartialFault(besides), kinds));
  }

  #leg(random: Random, caller: CallerPlan): Leg {
    return { caller, to: random.pick(hostNames), sameId: random.chance(0.15), gapMs: random.scale(0.1, 5_000) };
  }

  #user(random: Random): UserPlan {
    const act = random.pick(userActs);
    const host = act === 'start' || random.chance(0.4) ? random.pick(hostNames) : undefined;
    return { act, host, atMs: random.scale(1, this.memoryMsMax * 2) };
  }

  /** The agents that run: both of every host that a guest may come to or leave. */
  get agents(): readonly (readonly [Side, HostName])[] {
    if (this.legs.length === 1 && this.users.every(({ host }) => host !== 'c')) return twoHosts;
    return hostNames.flatMap((host): [Side, HostName][] => [
      ['source', host],
      ['dest', host],
    ]);
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

  #strike(random: Random, fault: Fault, kinds: readonly FaultKind[] | undefined): Strike {
    const near = kinds !== undefined || random.chance(0.4);
    const moment: Moment = near
      ? {
          near: random.pick(crucial),
          when: random.pick(['before', 'after']),
          nth: 1 + random.below(random.chance(0.6) ? 1 : 3),
        }
      : random.chance(0.75)
        ? { atAct: 1 + random.below(random.chance(0.75) ? actsOfOne : actsMax) }
        : { atMs: random.scale(0.5, this.healsAtMs) };
    return { fault, moment, seen: 0, struck: false };
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

  /** An agent is about to act, or has just done so. */
  strikeAt(act: number, label: string, when: 'before' | 'after', world: World): void {
    if (this.healed) return;
    for (const strike of this.strikes) {
      const { moment } = strike;
      if ('atAct' in moment && moment.atAct === act) this.#let(strike, world);
      if (!('near' in moment) || moment.when !== when || !label.includes(moment.near)) continue;
      strike.seen += 1;
      if (strike.seen === moment.nth) this.#let(strike, world);
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
    const [{ caller }, ...more] = this.legs;
    const { drives, protocol, vanishesAtMs, misdeedsAtMs, finishesEarly } = caller;
    const words = [
      `v${protocol}, ${drives === 'agent' ? 'peer to peer' : 'driven by the caller'}`,
      ...more.map(
        ({ caller: next, to, sameId, gapMs }) =>
          `then to ${to} by v${next.protocol}${sameId ? ' under the same id' : ''} ${gapMs.toFixed(1)} ms later`,
      ),
      ...(this.paused ? ['guest paused'] : []),
      ...(this.loadFailure ? ['load fails'] : []),
      ...(this.lateFailure ? ['source fails late'] : []),
      ...(vanishesAtMs === undefined ? [] : [`caller vanishes at ${vanishesAtMs.toFixed(1)} ms`]),
      ...(misdeedsAtMs.length === 0 ? [] : [`${misdeedsAtMs.length} misdeeds`]),
      ...(finishesEarly ? ['Finish is called early'] : []),
      ...this.strikes.map(({ fault, moment, struck }) => {
        return `${fault.name} ${whenOf(moment)}${struck ? '' : ' (did not strike)'}`;
      }),
      ...this.users.map(
        ({ act, host, atMs }) => `${act} ${host === undefined ? '' : `on ${host} `}at ${atMs.toFixed(1)} ms`,
      ),
      ...(this.operatorMs === undefined ? [] : [`a person judges from ${this.operatorMs.toFixed(0)} ms on`]),
      `healed at ${this.healsAtMs.toFixed(0)} ms`,
    ];
    return words.join('; ');
  }
}

function whenOf(moment: Moment): string {
  if ('atMs' in moment) return `at ${moment.atMs.toFixed(1)} ms`;
  if ('atAct' in moment) return `at act ${moment.atAct}`;
  return `${moment.when} ${moment.near.trim()} ${moment.nth}`;
}
