/** The two ends of a migration on the source, and the question that comes before them. */
import { MigrationError } from '@ferry/migration';
import type { MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import { guestOf, type HeldOut, type SourceAgent } from './agent.ts';
import { statisticsOf } from './outgoing.ts';

/**
 * Makes the decision, or learns it: the register says 'aborted' if the destination has not committed, and from then on it cannot. Only
 * this answer lets a guest run again that was sent; a Finish that failed or was lost does not. Throws HandoverError.
 */
export function decide(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<'committed' | 'aborted'> {
  const { migrationId, domainUuid: domain } = held.ongoing.start;
  return agent.register.abort({ domain, migrationId, incarnation: held.state.incarnation }, signal);
}

/** The guest runs on the destination: ends this copy. Its disks are inactive, so there is nothing to write back. */
export async function releaseGuest(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const guest = await guestOf(agent, held, signal).catch(() => undefined);
  if (guest === undefined) return;
  // QEMU says `completed` just before its figures are final, so they are asked for now.
  const info = await guest.monitor.execute('query-migrate', {}, signal).catch(() => undefined);
  if (info !== undefined) held.ongoing.statistics = { ...held.ongoing.statistics, ...statisticsOf(info) };
  await agent.hypervisor.end(guest, 'kill');
}

/** The decision is 'aborted', or was never asked for: lets the guest run on here, if it ran before. */
export async function resumeGuest(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const { monitor } = await guestOf(agent, held, signal);
  const { status } = await monitor.execute('query-status', {}, signal);
  if (!held.state.wasRunning || status === 'running') return;
  if (status !== 'postmigrate' && status !== 'paused') {
    throw new MigrationError(
      'guest-gone',
      `domain ${held.ongoing.start.domainName} is ${status} and is not started again`,
    );
  }
  await monitor.execute('cont', {}, signal);
}

/** Adds what the destination measured. */
export function addDestStatistics(held: HeldOut, dest: MigrationStatistics | undefined): void {
  if (dest === undefined) return;
  const own = held.ongoing.statistics;
  const { resumedAtUs, controlDestUs } = dest;
  const known = own.stoppedAtUs !== 0n && resumedAtUs !== 0n;
  held.ongoing.statistics = {
    ...own,
    resumedAtUs,
    controlDestUs,
    blackoutUs: known ? resumedAtUs - own.stoppedAtUs : 0n,
  };
  if (resumedAtUs !== 0n) held.ongoing.switchover('dest', Number(resumedAtUs));
}
