/** How slow or busy this machine is, for the time limits of tests. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

const rounds = 5;
/** What a round takes on an idle machine of the kind that the tests' limits were chosen on, ms. */
const idleMs = 30;
/** More patience than this hides a test that hangs. */
const slownessMax = 8;

/** How many times slower than an idle machine this one is now: by a fixed piece of work, and by how many processes share each core. */
export function slowness(): number {
  const shared = Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]) / availableParallelism();
  const slowest = Math.max(...Array.from({ length: rounds }, workMs));
  return Math.min(slownessMax, Math.max(1, slowest / idleMs, shared));
}

function workMs(): number {
  const started = performance.now();
  const block = Buffer.alloc(65_536);
  for (let i = 0; i < 200; i += 1) createHash('sha256').update(block).digest();
  return performance.now() - started;
}
