/** The sentences of a migration that the plain and the live view share. */
import type { Doubt, Failure, MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import type { AbortAsked, MigrationEnd, MigrationPlan } from '../migration.ts';
import { bytes, columns, duration } from '../words.ts';

/** `web-1: a → b, protocol v3, peer to peer, migration 0f…`. */
export function headline({ domain, from, to, protocol, mode, migrationId }: MigrationPlan): string {
  const way = from === undefined ? '' : to === undefined ? ` from ${from}` : ` ${from} → ${to}`;
  const version = protocol === undefined ? '' : `, protocol v${protocol}`;
  return `${domain}${way}${version}, ${mode}, migration ${migrationId}`;
}

/** `142 MiB sent, 34 MiB left, pass 3, 1.1 GiB/s, guest dirties 95 MiB/s`. */
export function progressText(s: MigrationStatistics | undefined): string {
  if (s === undefined || s.memoryTotalBytes === 0n) return 'setting up';
  const parts = [
    `${bytes(s.memoryTransferredBytes)} sent`,
    `${bytes(s.memoryRemainingBytes)} left of ${bytes(s.memoryTotalBytes)}`,
  ];
  if (s.memoryPasses > 0n) parts.push(`pass ${s.memoryPasses}`);
  if (s.bytesPerSecond > 0n) parts.push(`${bytes(s.bytesPerSecond)}/s`);
  if (s.dirtyBytesPerSecond > 0n) parts.push(`guest dirties ${bytes(s.dirtyBytesPerSecond)}/s`);
  return parts.join(', ');
}

/** Why the switchover waits, or that it does no longer. */
export function holdText(cause: Failure | undefined): string {
  return cause === undefined
    ? 'what the switchover needs answers again'
    : `the switchover waits, the guest runs on: ${cause.message} (${cause.reason})`;
}

/** Why nobody knows which host may run the guest, and what would tell; or that it is known now. */
export function doubtText({ cause, settledBy }: Doubt): string {
  if (cause === undefined) return 'no longer in doubt';
  return `in doubt, the guest is paused: ${cause.message} (${cause.reason}); what settles it: ${settledBy}`;
}

/** The sentence that a migration ends with. */
export function endText(end: MigrationEnd, { domain, from, to, migrationId }: MigrationPlan): string {
  const source = from === undefined ? 'the source' : `host ${from}`;
  switch (end.kind) {
    case 'completed':
      return `${domain} is on ${to === undefined ? 'the destination' : `host ${to}`} now`;
    case 'cancelled':
      return `cancelled: ${domain} is on ${source} as it was`;
    case 'failed':
      return `failed: ${domain} is on ${source} as it was`;
    case 'lost':
      return `lost: ${domain} runs nowhere any more`;
    case 'guest-ended':
      return `ended: ${domain} was shut down or destroyed while it migrated`;
    case 'in-doubt':
      return `in doubt: ${end.why}`;
    case 'left':
      return leftText(end.abort, migrationId);
  }
}

function leftText(abort: AbortAsked, migrationId: string): string {
  switch (abort) {
    case 'taken':
      return `left; the agents give the migration up: ferry watch ${migrationId} says how it ends`;
    case 'unanswered':
      return `left; the agent has not answered whether it gives the migration up: ferry watch ${migrationId}, ferry abort ${migrationId}`;
    case 'not-asked':
      return `left; the migration goes on: ferry watch ${migrationId}, ferry abort ${migrationId}`;
  }
}

/** What a completed migration cost; empty if nothing is known. */
export function summary(s: MigrationStatistics | undefined): string {
  if (s === undefined) return '';
  const rows: string[][] = [];
  if (s.blackoutUs > 0n) {
    const control = s.controlSourceUs + s.controlDestUs;
    const ours = control > 0n ? `, of which ${duration(control)} control plane` : '';
    rows.push(['  blackout', `${duration(s.blackoutUs)} from STOP on the source to RESUME on the destination${ours}`]);
  }
  if (s.memoryTransferredBytes > 0n) {
    const passes = s.memoryPasses > 0n ? ` in ${s.memoryPasses} pass${s.memoryPasses === 1n ? '' : 'es'}` : '';
    rows.push(['  memory', `${bytes(s.memoryTransferredBytes)} sent for ${bytes(s.memoryTotalBytes)}${passes}`]);
  }
  if (s.qemuTotalMs > 0n) {
    const [total, setup, downtime] = [s.qemuTotalMs, s.qemuSetupMs, s.qemuDowntimeMs].map((ms) =>
      duration(ms * 1_000n),
    );
    rows.push(['  QEMU', `${total} in total, ${setup} of it setup; it counts ${downtime} of downtime`]);
  }
  return columns(rows);
}
