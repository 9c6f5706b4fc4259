import type { RunState } from './index.ts';

const elsewhere: ReadonlySet<string> = new Set(['inmigrate', 'finish-migrate', 'postmigrate', 'colo']);

/**
 * Whether a QEMU in this run state holds its guest as the guest's user left it: running, paused, or stopped by the guest itself or by an error
 * (shutdown, guest-panicked, io-error, …). Not here: a guest that is coming in, or was sent.
 */
export const isHere = (status: RunState): boolean => !elsewhere.has(status);
