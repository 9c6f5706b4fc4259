/** The cases, made from the phase table and from what one recorded migration of each kind shows. */
import { createHash } from 'node:crypto';
import { phases, type Phase } from '@ferry/migration';
import type { Side } from '@ferry/lab';
import { type Case, idOf } from './case.ts';
import { Caller, type Mode, modes } from './drive.ts';
import { faultNames, faults } from './faults.ts';
import { opening, type Point, samePoint } from './points.ts';
import { type Stage, until } from './stage.ts';

export interface Recorded {
  readonly protocol: 2 | 3;
  readonly mode: Mode;
  readonly side: Side;
  readonly point: Point;
}

/** Of acts that come again and again, so many are taken. */
const nthMax = 2;

/** One migration of each kind, with every act noted. */
export async function record(stage: Stage): Promise<Recorded[]> {
  const found: Recorded[] = [];
  for (const protocol of [3, 2] as const) {
    for (const mode of modes) {
      const { guest, at: from } = await stage.guestReady(100);
      const to = from === 'a' ? 'b' : 'a';
      stage.plan(from, 'source', { record: true });
      stage.plan(to, 'dest', { record: true });
      await using caller = new Caller(stage, { protocol, mode, guest, from, to, migrationUri: '' });
      await caller.run();
      const over = await until(async () => {
        const quiet = stage.watch.living().length === 1 && stage.openJournals(caller.migrationId).length === 0;
        return quiet && (await stage.leases(guest)).length === 0;
      }, AbortSignal.timeout(15_000));
      if (over === undefined) throw new Error(`a migration without any fault does not settle: v${protocol}, ${mode}`);
      for (const [side, host] of [
        ['source', from],
        ['dest', to],
      ] as const) {
        for (const { stopped: _, ...point } of stage.passed(host, side)) {
          if (point.nth <= nthMax) found.push({ protocol, mode, side, point });
        }
        stage.plan(host, side, undefined);
      }
    }
  }
  return found;
}

/** The row that an act belongs to: the phase it opens if none had begun. */
function phaseOf({ protocol, side, point }: Pick<Recorded, 'protocol' | 'side' | 'point'>): Phase {
  const wanted = (phase: Phase): boolean =>
    point.phase === opening
      ? phases[phase].after.length === 0 && phases[phase].side === side && phases[phase].protocols.includes(protocol)
      : phase === point.phase;
  const found = (Object.keys(phases) as Phase[]).find(wanted);
  if (found === undefined) throw new Error(`${point.phase} is no phase of v${protocol}’s ${side}`);
  return found;
}

/** Phases of the table that no recorded migration went through. */
export function unseen(recorded: readonly Recorded[]): string[] {
  return (Object.keys(phases) as Phase[]).flatMap((phase) =>
    phases[phase].protocols
      .filter((protocol) => !recorded.some((each) => each.protocol === protocol && phaseOf(each) === phase))
      .map((protocol) => `v${protocol} ${phase}`),
  );
}

/** Phase × act × before and after × fault. */
export function matrixOf(recorded: readonly Recorded[]): Case[] {
  return recorded.flatMap((at) =>
    faultNames.filter((name) => faults[name].applies(at)).map((fault) => ({ ...at, fault })),
  );
}

/** The same order for the same seed, whatever else is there: a timer that fires earlier adds a point now and then. */
function shuffled<T>(items: readonly T[], seed: number, nameOf: (item: T) => string): T[] {
  const keyed = items.map((item) => ({
    item,
    key: createHash('sha256')
      .update(`${seed} ${nameOf(item)}`)
      .digest('hex'),
  }));
  return keyed.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(({ item }) => item);
}

/** So many cases: in each round one of every protocol × mode × phase × fault that is left, in an order by the seed. */
export function sample(all: readonly Case[], count: number, seed: number): Case[] {
  const strata = Map.groupBy(shuffled(all, seed, idOf), (each) =>
    [each.protocol, each.mode, phaseOf(each), each.fault].join(' '),
  );
  const rounds = shuffled([...strata], seed, ([name]) => name).map(([, cases]) => cases);
  const taken: Case[] = [];
  for (let round = 0; taken.length < Math.min(count, all.length); round += 1) {
    taken.push(...rounds.flatMap((cases) => cases.slice(round, round + 1)));
  }
  return taken.slice(0, count);
}

/** So many cases with two faults each: those of a sample, with another fault of the same kind of migration at another point. */
export function samplePairs(all: readonly Case[], count: number, seed: number): Case[] {
  const kinds = Map.groupBy(all, ({ protocol, mode }) => `${protocol} ${mode}`);
  return sample(all, count, seed).map((first) => {
    const { protocol, mode, side, point } = first;
    const others = (kinds.get(`${protocol} ${mode}`) ?? []).filter(
      (each) =>
        (each.side !== side || !samePoint(each.point, point)) &&
        (faults[first.fault].stream === undefined || faults[each.fault].stream === undefined),
    );
    const drawn = createHash('sha256')
      .update(`${seed} ${idOf(first)}`)
      .digest()
      .readUInt32BE();
    const second = others[drawn % others.length];
    return second === undefined ? first : { ...first, second };
  });
}
