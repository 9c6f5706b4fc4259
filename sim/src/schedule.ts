/** One schedule from its seed to its end: the same seed does the same. */
import { Journey } from './journey.ts';
import { Operator } from './operator.ts';
import type { HostName } from './host.ts';
import { Plan, type PlanWish } from './plan.ts';
import { Random } from './random.ts';
import { Violation } from './rules.ts';
import { Timeline } from './timeline.ts';
import { Users } from './users.ts';
import { live } from './virtual-time.ts';
import { World } from './world.ts';

export interface ScheduleOptions extends PlanWish {
  readonly seed: number;
  /** Told everything that happens. */
  readonly trace?: (line: string) => void;
}

export interface ScheduleEnd {
  readonly seed: number;
  /** What was drawn, in words. */
  readonly plan: string;
  readonly violation: Violation | undefined;
  readonly events: number;
  /** When the world was at rest, virtual ms. */
  readonly endedAtMs: number;
  readonly faults: number;
  readonly owner: HostName | 'nobody';
  /** Guests that have gone on at their destination. */
  readonly migrated: number;
  /** Migrations in doubt that were settled by a person's word. */
  readonly words: number;
  /** It ended early: something has happened that an assumption of the models rules out. */
  readonly excused: boolean;
}

/** Once everything works again, the world must be at rest within this time, ms. */
const settleMsMax = 180_000;
/** Late commands have arrived by then. */
const lateMsMax = 6_000;
/** No schedule has so many events, unless something goes round in circles. */
const eventsMax = 200_000;
/** Turns of the event loop that are asked for at once. */
const turnsAtOnce = 64;
/** How often it is looked whether all is at rest, events. */
const lookEvery = 16;

const nextTurn = globalThis.setImmediate;

/** Runs one schedule. One at a time: time is the process's. */
export async function runSchedule(options: ScheduleOptions): Promise<ScheduleEnd> {
  const random = new Random(options.seed);
  const timeline = new Timeline();
  const plan = new Plan(random, new Random(options.seed + 2 ** 40), options);
  const { trace } = options;
  const say = trace && ((line: string): void => trace(`${timeline.now.toFixed(3).padStart(10)} ${line}`));
  live({ timeline, random });
  // Nobody reads the stacks of errors that are expected; to make them takes a tenth of the time.
  Error.stackTraceLimit = trace === undefined ? 0 : 10;
  const world = new World({ timeline, random, plan, trace: say });
  const unhandled = (error: unknown): void =>
    world.rules.internal(timeline.current ?? world.party('source').life, 'unhandled', error);
  process.on('unhandledRejection', unhandled);
  try {
    const journey = new Journey(world);
    const users = new Users(world);
    const operator = new Operator(world);
    plan.begin(world);
    let events = 0;
    await turns(() => {
      if (world.rules.broken !== undefined || world.rules.excused) return false;
      if (
        plan.healed &&
        journey.done &&
        users.done &&
        events % lookEvery === 0 &&
        timeline.now > plan.healsAtMs + lateMsMax
      ) {
        if (world.rules.unrest().length === 0) {
          world.rules.atRest();
          return false;
        }
      }
      events += 1;
      if (timeline.now > plan.healsAtMs + settleMsMax || events > eventsMax) {
        world.rules.stuck();
        return false;
      }
      return timeline.step();
    });
    const [copy] = world.qemus.filter((qemu) => qemu.alive);
    return {
      seed: options.seed,
      plan: plan.describe(),
      violation: world.rules.broken,
      events,
      endedAtMs: timeline.now,
      faults: plan.strikes.filter(({ struck }) => struck).length,
      owner: copy?.host ?? 'nobody',
      migrated: world.qemus.filter(({ arrival, settled }) => arrival?.wentOn.dest === true || settled).length,
      words: operator.words,
      excused: world.rules.excused,
    };
  } finally {
    process.off('unhandledRejection', unhandled);
    live(undefined);
  }
}

/** Takes steps until one says that it was the last. Between two, everything that can go on without the world has gone on. */
function turns(step: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let over = false;
    let asked = 0;
    const ask = (): void => {
      asked = turnsAtOnce;
      for (let i = 0; i < turnsAtOnce; i += 1) nextTurn(turn);
    };
    const turn = (): void => {
      asked -= 1;
      if (over) return;
      try {
        over = !step();
        if (over) resolve();
        else if (asked === 0) ask();
      } catch (error) {
        over = true;
        reject(error);
      }
    };
    ask();
  });
}
