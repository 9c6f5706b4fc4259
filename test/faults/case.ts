/** One case of the matrix: a migration, one or two faults at points in it; and whether all is well afterwards. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Side } from '@ferry/lab';
import { Caller, type Journey, type Mode } from './drive.ts';
import { type FaultName, faults, type Kill, type Scene, type Thing } from './faults.ts';
import { judge, unsettled, type Verdict } from './judge.ts';
import { type Point, samePoint } from './points.ts';
import { type HostName, type Stage, until, untilStopped } from './stage.ts';
import { Stream, streamStop } from './stream.ts';

/** A fault, and where it strikes. */
export interface Strike {
  readonly side: Side;
  readonly point: Point;
  readonly fault: FaultName;
}

export interface Case extends Strike {
  readonly protocol: 2 | 3;
  readonly mode: Mode;
  readonly second?: Strike | undefined;
}

const nameOf = ({ side, point, fault }: Strike): string =>
  [side, point.phase, point.act, point.nth, point.when, fault].join('/');

/** Names a case, for `--case`: `v3/peer/STRIKE`, or `v3/peer/STRIKE+STRIKE`. */
export const idOf = (what: Case): string =>
  `v${what.protocol}/${what.mode}/${[what, what.second]
    .flatMap((strike) => strike ?? [])
    .map(nameOf)
    .join('+')}`;

function strikeOf(text: string): Strike | undefined {
  const [side, phase, act, nth, when, fault] = text.split('/');
  const known =
    (side === 'source' || side === 'dest') &&
    (when === 'before' || when === 'after') &&
    fault !== undefined &&
    Object.hasOwn(faults, fault);
  if (!known || phase === undefined || act === undefined) return undefined;
  return { side, point: { phase, act, nth: Number(nth), when }, fault: fault as FaultName };
}

/** Throws if the text names no case. */
export function caseOf(id: string): Case {
  const [, protocol, mode, rest = ''] = /^v([23])\/(direct|peer|cancelled)\/(.+)$/.exec(id) ?? [];
  const [first, second, ...more] = rest.split('+').map(strikeOf);
  if (first === undefined || more.length > 0 || (rest.includes('+') && second === undefined))
    throw new Error(`${id} is no case`);
  return { protocol: protocol === '2' ? 2 : 3, mode: mode as Mode, ...first, second };
}

export interface Result extends Verdict {
  readonly id: string;
  /** `ran`: a fault struck; or its point was not reached, or there was nothing to strike. */
  readonly end: 'ran' | 'not-reached' | 'nothing-to-strike';
  /** How many did: after the first the migration may never reach the point of the second. */
  readonly struck: number;
  /** What the caller was told. */
  readonly told: string;
  /** From when the last fault was gone until all was settled, ms. */
  readonly settledMs: number;
  /** The bound that this fault has, ms. */
  readonly boundMs: number;
  /** The longest time in which no QEMU executed the guest, ms. */
  readonly standstillMs: number;
}

const restartMsMax = 3_000;
const reachMsMax = 10_000;
const lastActsMs = 100;
/** The guest is a new one after so many cases: its output is checked from its beginning each time. */
const casesPerGuest = 12;

const chanceOf = (id: string): number => createHash('sha256').update(id).digest().readUInt32BE() / 2 ** 32;

export const isBad = (r: Result): boolean =>
  r.doubles.length > 0 ||
  r.lost !== undefined ||
  r.stuck !== undefined ||
  r.leftovers.length > 0 ||
  r.memory.length > 0;

/** What a strike uses: the agent that stands still, and what the fault acts on. Two that use the same thing come one after the other. */
const usedBy = ({ side, fault }: Strike): readonly Thing[] => [`${side}-agent`, ...faults[fault].acts];
const clash = (a: Strike, b: Strike): boolean => usedBy(a).some((thing) => usedBy(b).includes(thing));

/** Plays a case on a stage that is settled, and leaves it settled unless the result is bad: what is not settled after so long is stuck. */
export async function play(stage: Stage, what: Case, settleMsMax = 15_000): Promise<Result> {
  const id = idOf(what);
  const { guest, at: from } = await stage.guestReady(casesPerGuest);
  guest.cases += 1;
  stage.watch.forget();
  const to: HostName = from === 'a' ? 'b' : 'a';
  const { protocol, mode } = what;
  const strikes: readonly Strike[] = what.second === undefined ? [what] : [what, what.second];
  const redisBytes = statSync(stage.redisFile()).size;
  const streamMode = strikes.map(({ fault }) => faults[fault].stream).find((each) => each !== undefined);
  await using stream = streamMode === undefined ? undefined : new Stream(stage, streamMode);
  const journey: Journey = { protocol, mode, guest, from, to, migrationUri: stream?.uri ?? '' };
  await using caller = new Caller(stage, journey);

  const hostOf = (side: Side): HostName => (side === 'source' ? from : to);
  const pending = new Set(strikes);
  const routing = stream === undefined ? [] : [streamStop(protocol)];
  const planFor = (side: Side, first: boolean): void => {
    const stops = [...pending].filter((strike) => strike.side === side).map(({ point }) => point);
    if (first && side === 'source') stops.unshift(...routing);
    stage.plan(hostOf(side), side, stops.length > 0 ? { stops } : undefined);
  };
  for (const side of ['dest', 'source'] as const) planFor(side, true);
  let told: string | undefined;
  const run = caller.run().then((end) => {
    told = end;
  });

  const kills: Kill[] = [];
  const afters: (() => Promise<void>)[] = [];
  const settled = async (): Promise<boolean> => (await unsettled(stage, guest, caller.migrationId, kills)).length === 0;
  const underWay = new Map<Strike, Promise<unknown>>();
  let goneAtMs = performance.now();

  /** Waits for the point, has the fault strike there, and heals it. */
  const carryOut = async (strike: Strike): Promise<Result['end']> => {
    const { side, point } = strike;
    const agent = stage.agent(hostOf(side), side);
    let stopped = false;
    const isStopped = (): boolean => {
      stopped ||= stage.passed(hostOf(side), side).some((each) => each.stopped && samePoint(each, point));
      return stopped;
    };
    const reached = await until(
      async () => {
        await stream?.route(from);
        if (isStopped()) return 'stopped';
        if (underWay.size > 0 || told === undefined || !(await settled())) return undefined;
        // What an agent does last, it does after all is settled.
        await delay(lastActsMs);
        return isStopped() ? 'stopped' : 'over';
      },
      AbortSignal.timeout(reachMsMax * strikes.length),
    );
    pending.delete(strike);
    if (reached !== 'stopped') {
      agent.signal('SIGCONT');
      return 'not-reached';
    }
    const before = [...underWay].filter(([other]) => clash(other, strike)).map(([, end]) => end);
    const striking = Promise.all(before).then(async (): Promise<Result['end']> => {
      await untilStopped(agent.pid);
      // An agent that is restarted is not stopped before it serves, and never at the same point again.
      const restarted = (['source', 'dest'] as const).filter((each) =>
        faults[strike.fault].acts.includes(`${each}-agent`),
      );
      if (!restarted.includes(side)) planFor(side, false);
      for (const each of restarted) stage.plan(hostOf(each), each, undefined);
      const scene: Scene = {
        stage,
        caller,
        guest,
        from,
        to,
        side,
        point,
        stream: stream?.proxy,
        redisBytes,
        chance: chanceOf(id),
      };
      const done = await faults[strike.fault].strike(scene);
      if (done?.killed !== undefined) kills.push(done.killed);
      if (done?.holds !== true) agent.signal('SIGCONT');
      if (done === undefined) {
        for (const each of restarted) planFor(each, false);
        return 'nothing-to-strike';
      }
      await delay(done.lastsMs);
      goneAtMs = performance.now();
      await done.heal();
      if (done.after !== undefined) afters.push(done.after);
      for (const each of restarted) planFor(each, false);
      return 'ran';
    });
    underWay.set(strike, striking);
    return striking.finally(() => underWay.delete(strike));
  };
  const ends = await Promise.all(strikes.map(carryOut));
  for (const side of ['source', 'dest'] as const) stage.plan(hostOf(side), side, undefined);
  for (const after of afters) {
    await after();
    goneAtMs = performance.now();
  }
  const struck = ends.filter((each) => each === 'ran').length;
  const end = struck > 0 ? 'ran' : (ends.find((each) => each === 'nothing-to-strike') ?? 'not-reached');

  const boundMs = what.second === undefined && faults[what.fault].restart === true ? restartMsMax : settleMsMax;
  // Two that execute the guest at once will not settle any more.
  const over = async (): Promise<boolean> => (await settled()) || stage.watch.doubles().length > 0;
  const inTime = await until(over, AbortSignal.timeout(settleMsMax));
  const settledMs = performance.now() - goneAtMs;
  await run;
  // The caller may have gone on after that.
  if (inTime !== undefined) await until(over, AbortSignal.timeout(settleMsMax));
  const judged = () => judge(stage, guest, caller.migrationId, kills);
  let verdict = await judged();
  // Its agent too, without it, and only just begun: what is under way is not left.
  if (inTime !== undefined && verdict.leftovers.length > 0) {
    await until(over, AbortSignal.timeout(settleMsMax));
    verdict = await judged();
  }
  return {
    id,
    end,
    struck,
    told: told ?? '',
    ...verdict,
    settledMs,
    boundMs,
    standstillMs: stage.watch.standstillMs(),
  };
}
