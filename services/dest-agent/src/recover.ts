/** What the destination does with a migration that nobody executes any more: one path for exceptions, lost leases, lost peers and restarts. */
import type { OutcomeWord } from '@ferry/agent';
import type { Guest } from '@ferry/hypervisor';
import { MigrationError, phases } from '@ferry/migration';
import type { MigrationJob } from '@ferry/jobs';
import type { DestAgent, DestState, HeldIn } from './agent.ts';
import { Incoming } from './incoming.ts';

/** Follows the phase's recovery row; gives how the migration ended. Throws when that cannot be known yet: then it is tried again. */
export async function recover(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  const row = phases[held.phase ?? 'prepare'].recovery;
  switch (row) {
    case 'destroy-incoming':
      return destroyIncoming(agent, held, signal);
    case 'keep-if-running':
      return keepIfRunning(agent, held, signal);
    case 'forget':
    case 'cancel-and-resume':
    case 'ask-decision':
    case 'resume-source':
    case 'destroy-source':
      throw new Error(`phase ${held.phase} is not the destination's`);
  }
}

const given = (held: HeldIn): OutcomeWord =>
  held.firstFailure?.reason === 'migration-cancelled' ? 'cancelled' : 'failed';

/** This side has not tried to commit, so it may drop its copy freely; the register is told so that the source need not wait. */
async function destroyIncoming(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  await endIncoming(agent, held);
  const { migrationId, domainUuid: domain } = held.ongoing.start;
  const courtesy = AbortSignal.any([signal, AbortSignal.timeout(1_000)]);
  await agent.register
    .abort({ domain, migrationId, incarnation: held.state.incarnation }, courtesy)
    .catch((error: unknown) => {
      agent.log.warn({ err: error, migrationId }, 'the register could not be told that the guest was dropped');
    });
  return given(held);
}

/** A QEMU that runs is committed, whatever else is known. One that does not asks the register. */
async function keepIfRunning(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  const { migrationId, domainUuid: domain } = held.ongoing.start;
  const { guest, incoming, paused } = held.state;
  const status = await guest?.monitor.execute('query-status', {}, signal).catch(() => undefined);
  if (guest !== undefined && status?.status !== 'running') {
    const decision = await agent.register.abort({ domain, migrationId, incarnation: held.state.incarnation }, signal);
    if (decision === 'aborted') {
      await endIncoming(agent, held);
      return given(held);
    }
    if (!paused) await incoming?.start(signal);
  }
  if (guest === undefined) return 'failed';
  held.state.releasePort();
  await agent.hypervisor.settle(guest);
  return 'completed';
}

async function endIncoming(agent: DestAgent, held: HeldIn): Promise<void> {
  const { state } = held;
  state.incoming?.[Symbol.dispose]();
  if (state.guest !== undefined) await agent.hypervisor.end(state.guest, 'kill');
  state.releasePort();
}

/** A QEMU that dies while it waits ends the migration here at once, with its last words. */
export function watchDeath(agent: DestAgent, held: HeldIn): void {
  held.state.incoming?.loaded.catch((error: unknown) => {
    if (agent.migrations.find(held.ongoing.start.migrationId) !== held) return;
    const cause = error instanceof Error ? error : new MigrationError('incoming-failed', String(error));
    agent.migrations
      .giveUp(held, cause)
      .catch((failed: unknown) => agent.log.error({ err: failed }, 'could not give up'));
  });
}

/** The state of a migration that this agent's predecessor left, from the job's options and the QEMU that waits. */
export async function reviveState(agent: DestAgent, job: MigrationJob, signal: AbortSignal): Promise<DestState> {
  const guest: Guest | undefined = await agent.hypervisor.guest(job.domain, signal).catch(() => undefined);
  return {
    protocol: job.options['protocol'] === '2' ? 2 : 3,
    incarnation: job.options['incarnation'] ?? '',
    paused: job.options['paused'] === 'true',
    guest,
    incoming: guest && new Incoming(guest.monitor, () => agent.hypervisor.logTail(job.domain)),
    releasePort: () => undefined,
  };
}
