/** What metrics say of migrations as they begin, wait and end. */
import { failureLabels } from './migration-labels.ts';
import { measure } from './metrics.ts';
import type { MigrationObserver, Ongoing } from './ongoing.ts';

/** For the migrations of one agent. */
export function migrationObserver(): MigrationObserver {
  const counted = new WeakMap<Ongoing, bigint>();
  const countMemory = (ongoing: Ongoing): void => {
    const { memoryTransferredBytes: sent } = ongoing.statistics;
    const before = counted.get(ongoing) ?? 0n;
    if (ongoing.start.side !== 'source' || sent <= before) return;
    counted.set(ongoing, sent);
    measure('memoryTransferred', Number(sent - before), {});
  };
  return {
    started: ({ start }) => measure('started', 1, { 'ferry.side': start.side }),
    progressed: countMemory,
    held: (_ongoing, { reason }) => measure('holds', 1, { 'ferry.reason': reason }),
    ended: (ongoing) => {
      countMemory(ongoing);
      measureEnd(ongoing);
    },
  };
}

function measureEnd(ongoing: Ongoing): void {
  const { start, statistics, startedAt, endedAt } = ongoing;
  const side = { 'ferry.side': start.side };
  const labels = failureLabels(ongoing);
  measure('ended', 1, { ...side, ...labels });
  const tookMs = Number(endedAt) - Number(startedAt);
  measure('duration', Math.max(0, tookMs) / 1e3, { ...side, 'ferry.outcome': labels['ferry.outcome'] });
  const { blackoutUs, controlSourceUs, controlDestUs } = statistics;
  // The source's figures have the destination's in them, which counts them itself.
  if (start.side === 'source' && blackoutUs > 0n) measure('blackout', Number(blackoutUs) / 1e6, {});
  const controlUs = start.side === 'source' ? controlSourceUs : controlDestUs;
  if (controlUs > 0n) measure('controlPlane', Number(controlUs) / 1e6, side);
}
