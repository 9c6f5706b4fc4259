/** What metrics and the log say of migrations as they begin, wait and end. */
import { failureLabels, hostsOf } from './migration-labels.ts';
import type { Log } from './log.ts';
import { measure } from './metrics.ts';
import type { MigrationObserver, Ongoing } from './ongoing.ts';

/** The guest's own next steps come before what is said of its migration, ms. */
const sayAfterMs = 2;

/** For the migrations of one agent. */
export function migrationObserver(host: string, log: Log): MigrationObserver {
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
      setTimeout(() => logEnd(log, host, ongoing), sayAfterMs);
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

function logEnd(log: Log, host: string, ongoing: Ongoing): void {
  const { start, statistics, startedAt, endedAt, failure, outcomeWord: outcome } = ongoing;
  const { migrationId, domainUuid: domain, domainName, side, protocol, requester = '' } = start;
  const line = {
    event: 'migration-ended',
    migrationId,
    domain,
    domainName,
    side,
    protocol,
    outcome,
    reason: failure?.reason ?? '',
    ...hostsOf(host, ongoing),
    tookMs: Number(endedAt) - Number(startedAt),
    downtimeMs: Number(statistics.blackoutUs) / 1e3,
    bytes: Number(statistics.memoryTransferredBytes),
    requester,
  };
  log[outcome === 'completed' || outcome === 'cancelled' ? 'info' : 'warn'](line, 'migration ended');
}
