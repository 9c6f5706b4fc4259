/** The test of the test: cases that end in an accident when a guard of the handover decision is taken away, and go well with it. */

/** By the names of spec/handover.pml; guards.ts takes them away. */
export const guards = ['NO_VOTE', 'NO_DECISION', 'NO_INCARNATION', 'NO_PROMISE', 'NO_JOURNAL'] as const;
export type Guard = (typeof guards)[number];

/** Each guard's accident, as the model finds it too. */
export const accidents: Readonly<Record<Guard, readonly string[]>> = {
  NO_VOTE: ['v2/direct/dest/prepare/event:MIGRATION.completed/1/after/late-failure'],
  NO_DECISION: ['v3/direct/dest/finish3/qmp:cont/1/after/kill-dest-agent'],
  NO_INCARNATION: ['v3/direct/dest/finish3/qmp:cont/1/after/commit-lost'],
  NO_PROMISE: ['v3/direct/dest/finish3/redis:register-commit/1/before/commit-late'],
  NO_JOURNAL: ['v3/direct/source/perform3-done/redis:job-phase/1/before/source-forgets'],
};
