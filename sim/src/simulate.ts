/** The command line of the simulation. */
/* oxlint-disable unicorn/require-post-message-target-origin -- that is for windows, these are threads */
import { parseArgs } from 'node:util';
import { parentPort, Worker } from 'node:worker_threads';
import { guardNamed, guards } from './guards/list.ts';
import { searchGuards } from './guards/search.ts';
import { type FaultKind, faultKinds } from './faults.ts';
import type { PlanWish } from './plan.ts';
import { runSchedule, type ScheduleEnd } from './schedule.ts';
import { addEnd, addTally, brokenIn, lineOf, newTally, type Tally } from './tally.ts';

const usage = `./dev simulate [--schedules N] [--first S] [--workers N] [--faults N] [--calm] [--guard-removed NAME] …
./dev simulate --seed S …
./dev simulate --guards [--known] [--schedules N] [--first S] [--workers N]

  --schedules N         so many schedules (1000), with the seeds from --first (1) on
  --workers N           on so many processors (1)
  --seed S              one schedule, with all that happens in it
  --faults N            at most so many faults in a schedule (4)
  --kinds K,K…          only faults of these kinds, around the acts that matter most: ${faultKinds.join(', ')}
  --calm                callers that do as they should, QEMUs that always succeed, no faults
  --guard-removed NAME  the agents’ code without one guard: ${guards.map(({ name }) => name).join(', ')}
  --guards              each of these in turn: by which schedule, or which test with real parts, its accident is found
  --known               with --guards: from the seed on that is known to find it
  --outcomes-only       looks only at what becomes of the guest, not whether each step is one of the model's
  --until-broken        ends at the first schedule that breaks a rule of the handover
`;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

interface Wish extends PlanWish {
  readonly untilBroken: boolean;
}

/** Which seeds: so many, from the first one on. */
interface Seeds {
  readonly first: number;
  readonly schedules: number;
}

/** A thread ends after so many schedules: what waits in lives that were killed is freed only with it. */
const perThread = 5_000;
/** How many broken schedules each worker tells of. */
const toldMax = 20;
/** Broken rules that say nothing of the handover: something is left behind, or goes on for ever. */
const untidy: ReadonlySet<string> = new Set(['stuck', 'internal']);

/** Gives the exit status: 0 if no rule was broken. */
export async function simulate(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      schedules: { type: 'string', default: '1000' },
      first: { type: 'string', default: '1' },
      workers: { type: 'string', default: '1' },
      seed: { type: 'string' },
      faults: { type: 'string', default: '4' },
      kinds: { type: 'string' },
      calm: { type: 'boolean', default: false },
      'outcomes-only': { type: 'boolean', default: false },
      'guard-removed': { type: 'string' },
      'until-broken': { type: 'boolean', default: false },
      guards: { type: 'boolean', default: false },
      known: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { calm, 'outcomes-only': outcomesOnly, 'until-broken': untilBroken, 'guard-removed': guard } = values;
  if (values.help || (guard !== undefined && guardNamed(guard) === undefined)) {
    process.stdout.write(usage);
    return values.help ? 0 : 2;
  }
  const wish: Wish = {
    faultsMax: calm ? 0 : Number(values.faults),
    calm,
    outcomesOnly,
    untilBroken,
    kinds: kindsIn(values.kinds),
  };
  if (values.seed !== undefined) return again(Number(values.seed), wish);
  const seeds = { first: Number(values.first), schedules: Number(values.schedules) };
  const workers = Number(values.workers);
  if (values.guards) return searchGuards({ ...seeds, known: values.known, workers, say });
  const startedAt = process.hrtime.bigint();
  const tally =
    parentPort === null && !untilBroken && (workers > 1 || seeds.schedules > perThread)
      ? await spread(workers, seeds, argv)
      : await many(seeds, wish);
  parentPort?.postMessage(tally);
  if (parentPort === null) say(lineOf(tally, Number(process.hrtime.bigint() - startedAt) / 1e6));
  return brokenIn(tally) === 0 ? 0 : 1;
}

/** Throws for a kind that there is not. */
function kindsIn(names: string | undefined): FaultKind[] | undefined {
  return names?.split(',').map((name) => {
    const kind = faultKinds.find((each) => each === name);
    if (kind === undefined) throw new Error(`--kinds ${name}: there are ${faultKinds.join(', ')}`);
    return kind;
  });
}

async function again(seed: number, wish: Wish): Promise<number> {
  const end = await runSchedule({ ...wish, seed, trace: say });
  tell(end);
  return end.violation === undefined ? 0 : 1;
}

async function many({ first, schedules }: Seeds, wish: Wish): Promise<Tally> {
  const tally = newTally();
  let told = 0;
  for (let i = 0; i < schedules; i += 1) {
    const end = await runSchedule({ ...wish, seed: first + i });
    addEnd(tally, end);
    if (end.violation === undefined || (wish.untilBroken && untidy.has(end.violation.rule))) continue;
    told += 1;
    if (told <= toldMax) tell(end);
    if (!wish.untilBroken) continue;
    tally.found = { seed: end.seed, rule: end.violation.rule, message: end.violation.message };
    break;
  }
  return tally;
}

/** Each thread has time and chance of its own; so many at once, one part of the seeds after the other. */
async function spread(workers: number, { first, schedules }: Seeds, argv: readonly string[]): Promise<Tally> {
  const sum = newTally();
  let begun = 0;
  const next = async (): Promise<void> => {
    while (begun < schedules) {
      const from = begun;
      begun += Math.min(perThread, schedules - begun, Math.ceil(schedules / workers));
      await thread(argv, { first: first + from, schedules: begun - from }, (tally) => addTally(sum, tally));
    }
  };
  await Promise.all(Array.from({ length: workers }, next));
  return sum;
}

function thread(argv: readonly string[], { first, schedules }: Seeds, done: (tally: Tally) => void): Promise<void> {
  const seeds = ['--first', String(first), '--schedules', String(schedules)];
  const worker = new Worker(new URL('main.ts', import.meta.url), { argv: [...argv, ...seeds] });
  worker.on('message', done);
  return new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => resolve());
  });
}

function tell({ seed, plan, violation, events, endedAtMs, owner }: ScheduleEnd): void {
  const how = violation?.message ?? `at rest, the guest is at ${owner}`;
  say(`seed ${seed}: ${plan}\n  ${how} (${events} events, ${(endedAtMs / 1000).toFixed(1)} s)`);
}
