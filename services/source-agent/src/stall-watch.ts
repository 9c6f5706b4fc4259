/** A guest that is stopped for its switchover waits for a stream that moves: one that does not is given up, and the guest runs on here. */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@ferry/migration';
import type { Monitor } from '@ferry/qemu-qmp';

/** Looks at a stream in as long as one may stand still. */
const looksPerBound = 4;

/**
 * Runs from STOP until its signal aborts. Throws switchover-stalled when the stream has not moved for `stallMs`: neither bytes nor a state, by
 * QEMU's figures; or when QEMU does not give them for as long. Nothing is asked in the first quarter of `stallMs`, which an ordinary blackout does
 * not take, so that a stream that has stood still since STOP is given up after one and a quarter of it.
 */
export async function watchStall(monitor: Monitor, stallMs: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(stallMs / looksPerBound, undefined, { signal });
    let before = await look(monitor, stallMs, signal);
    let looksLeft = looksPerBound;
    while (looksLeft > 0) {
      await delay(stallMs / looksPerBound, undefined, { signal });
      const now = await look(monitor, stallMs, signal);
      // Counted in looks, not by a clock: an agent that had no processor for a while has not seen the stream stand still.
      looksLeft = now === before ? looksLeft - 1 : looksPerBound;
      before = now;
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  throw stalled(`nothing has moved on its stream for ${stallMs} ms`);
}

/** How far the stream has come, in QEMU's words. */
async function look(monitor: Monitor, stallMs: number, signal: AbortSignal): Promise<string> {
  const late = AbortSignal.timeout(stallMs);
  try {
    const { status, ram } = await monitor.execute('query-migrate', {}, AbortSignal.any([signal, late]));
    return `${status} ${ram?.transferred}`;
  } catch (error) {
    if (signal.aborted || !late.aborted) throw error;
    throw stalled(`QEMU has not answered for ${stallMs} ms`);
  }
}

const stalled = (why: string): MigrationError =>
  new MigrationError(
    'switchover-stalled',
    `the guest was stopped for its switchover, and ${why} (FERRY_STALL_MS): it is taken back, and runs on here; look at the network between the hosts, and start anew`,
  );
