/** What a guard is here: a name, where it is in the code, and what shows that it is needed. */
import type { Edit } from './edits.ts';

export interface Guard {
  readonly name: string;
  /** What goes wrong without it. */
  readonly about: string;
  readonly edits: readonly Edit[];
  readonly shownBy: Shown;
}

/**
 * A schedule that breaks a rule, by its seed; a test that fails, with real parts or with the agents' own functions in the order that does harm; or why the
 * models assume it: it is nothing that the agents do, and is taken away in the models alone (spec/check.sh --guards).
 */
export type Shown =
  | {
      readonly by: 'schedule';
      readonly seed: number;
      readonly rules: 'outcomes' | 'all';
      /** Only faults of these kinds are drawn, if any are named. */
      readonly kinds?: string | undefined;
    }
  | { readonly by: 'test'; readonly file: string; readonly test: string }
  | { readonly by: 'assumption'; readonly why: string };

const scripts = 'libs/handover/src/scripts';
const source = 'services/source-agent/src';
const dest = 'services/dest-agent/src';

export const inScript = (name: string, from: string | RegExp, to = ''): Edit => ({
  file: `${scripts}/${name}.lua`,
  from,
  to,
});
export const inSource = (name: string, from: string | RegExp, to = ''): Edit => ({
  file: `${source}/${name}.ts`,
  from,
  to,
});
export const inDest = (name: string, from: string | RegExp, to = ''): Edit => ({
  file: `${dest}/${name}.ts`,
  from,
  to,
});

/** Found by what becomes of the guest, or else by a step that is not one of the model's. */
export const schedule = (seed: number, rules: 'outcomes' | 'all' = 'outcomes', kinds?: string): Shown => ({
  by: 'schedule',
  seed,
  rules,
  kinds,
});
export const byTest = (file: string, test: string): Shown => ({ by: 'test', file, test });

/** Of the models alone. */
export const assumed = (name: string, about: string, why: string): Guard => ({
  name,
  about,
  edits: [],
  shownBy: { by: 'assumption', why },
});
