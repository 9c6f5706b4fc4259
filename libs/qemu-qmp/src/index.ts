import type { Commands } from './generated/qmp.ts';

export { QmpError, type QmpErrorKind, type Refusal } from './errors.ts';
export type { Feature } from './features.ts';
export type { Commands, Events, LaterWord, NoArguments, NoMembers } from './generated/qmp.ts';
export { Monitor, qmpCommands, type PreparedCommand, type TimedEvent } from './monitor.ts';

/** A migration as `query-migrate` shows it: one object for both directions. `{}` before the first. */
export type MigrationInfo = Commands['query-migrate']['returns'];
/** Open: a status that is not listed comes from a newer QEMU and is not terminal. */
export type MigrationStatus = NonNullable<MigrationInfo['status']>;
export type RunState = Commands['query-status']['returns']['status'];
export { isHere } from './run-state.ts';
