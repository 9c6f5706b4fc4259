/**
 * A point of a migration at which something can be made to happen: just before, or just after, an act by which an agent touches the world
 * outside. And how the controller and the preload in an agent tell each other of it: two small files for each agent.
 */

/** `redis:job-start`, `qmp:cont`, `event:MIGRATION.completed`, `journal:write`, `serve:Prepare` (a call that came), `call:Prepare` (one that was made). */
export type Act = string;

/** What an agent does before its first phase has begun: it looks at the guest and takes the job. */
export const opening = 'opening';

export interface Point {
  /** The phase that has begun last on this side; `opening` before the first. */
  readonly phase: string;
  readonly act: Act;
  /** Which of the phase's acts of that name: 1 is the first. */
  readonly nth: number;
  readonly when: 'before' | 'after';
}

/** What an agent is told: where to stop itself. Read anew whenever the file changes, and forgotten when it is gone. */
export interface Plan {
  /** Phases, by which acts are told apart: the phase table's names. */
  readonly phases: readonly string[];
  /** Note every act that is passed. */
  readonly record: boolean;
  /** The agent's process stops itself (SIGSTOP) at each of them, once. */
  readonly stops: readonly Point[];
}

export const planFile = 'plan.json';
/** One line of JSON for each point that was recorded or stopped at. */
export const passedFile = 'passed.jsonl';

/** What the preload notes of a point. */
export interface Passed extends Point {
  readonly stopped: boolean;
}

export const samePoint = (a: Point, b: Point): boolean =>
  a.phase === b.phase && a.act === b.act && a.nth === b.nth && a.when === b.when;
