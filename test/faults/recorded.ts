/** The points of migrations of each kind, as recorded before: which cases there are does not hang on what one more recording meets. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { modes } from './drive.ts';
import type { Recorded } from './matrix.ts';

const path = join(import.meta.dirname, 'recorded.txt');

/** `v3/peer/source/perform3/qmp:migrate/1/before` */
const nameOfPoint = ({ protocol, mode, side, point }: Recorded): string =>
  [`v${protocol}`, mode, side, point.phase, point.act, point.nth, point.when].join('/');

function pointOf(line: string): Recorded {
  const [protocol, mode, side, phase = '', act = '', nth, when] = line.split('/');
  return {
    protocol: protocol === 'v2' ? 2 : 3,
    mode: modes.find((each) => each === mode) ?? 'direct',
    side: side === 'dest' ? 'dest' : 'source',
    point: { phase, act, nth: Number(nth), when: when === 'after' ? 'after' : 'before' },
  };
}

const lines = (): string[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '');

export const recordedBefore = (): Recorded[] => lines().map(pointOf);

/** Adds what new recordings met: a timer that fires earlier adds a point now and then. */
export function addRecorded(recorded: readonly Recorded[]): number {
  const known = new Set(lines());
  const before = known.size;
  for (const each of recorded) known.add(nameOfPoint(each));
  writeFileSync(path, `${[...known].toSorted().join('\n')}\n`);
  return known.size - before;
}

/** The acts of a recording that are not among those recorded before, whatever the phase they fell into this time. */
export function newActs(recorded: readonly Recorded[]): string[] {
  // Looks at owners come on timers as well: whether one falls into a migration of this kind or of that, the machine decides.
  const actOf = ({ protocol, mode, side, point }: Recorded): string =>
    point.act.startsWith('redis:owner-') ? `${side}/${point.act}` : [`v${protocol}`, mode, side, point.act].join('/');
  const known = new Set(recordedBefore().map(actOf));
  return [...new Set(recorded.map(actOf))].filter((act) => !known.has(act));
}
