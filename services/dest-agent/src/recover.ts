/** What the destination does with a migration that nobody executes any more: one path for exceptions, lost leases, lost peers and restarts. */
import type { OutcomeWord } from '@ferry/agent';
import { MigrationError, phases } from '@ferry/migration';
import type { MigrationJob } from '@ferry/jobs';
import { type DestAgent, type DestState, type HeldIn, newState } from './agent.ts';
import { decide } from './decision.ts';
import { Incoming } from './incoming.ts';

/** Follows the phase's recovery row; gives how the migration ended. Throws when that cannot be known yet: then it is tried again. */
export async function recover(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  const row = phases[held.phase ?? 'prepare'].recovery;
  switch (row) {
    case 'destroy-incoming':
      // After a restart: Finish is recorded while it runs, so the record may be behind what was done.
      return held.state.revived ? keepIfRunning(agent, held, signal) : destroyIncoming(agent, held, signal);
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

/** A QEMU that runs is committed, whatever else is known. One that does not asks for the decision. */
async function keepIfRunning(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  const { state } = held;
  const { guest, incoming, paused } = state;
  const status = await guest?.monitor.execute('query-status', {}, signal).catch(() => undefined);
  const running = status?.status === 'running';
  if (running) state.decision = 'committed';
  const decision = await decide(agent, held, signal);
  // Committed, and ended since by itself: there is nothing left to keep.
  if (decision === 'aborted' || guest === undefined || guest.monitor.closed.aborted) {
    await endIncoming(agent, held);
    return given(held);
  }
  if (!running && !paused) await incoming?.start(signal);
  state.releasePort();
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
  const { protocol, incarnation = '', paused } = job.options;
  const state = newState(protocol === '2' ? 2 : 3, incarnation, paused === 'true', true);
  state.guest = await agent.hypervisor.guest(job.domain, signal).catch(() => undefined);
  if (state.guest !== undefined) {
    state.incoming = new Incoming(state.guest.monitor, () => agent.hypervisor.logTail(job.domain));
  }
  return state;
}

/** A QEMU that waits for a guest of which Redis knows nothing any more: one that has not loaded it whole can be ended. */
export async function endOrphans(agent: DestAgent, signal: AbortSignal): Promise<void> {
  for (const { uuid, name, incoming } of await agent.hypervisor.list()) {
    if (incoming === undefined || agent.migrations.find(incoming) !== undefined) continue;
    const guest = await agent.hypervisor.guest(uuid, signal);
    const { status } = await guest.monitor.execute('query-status', {}, signal);
    if (status === 'running') await agent.hypervisor.settle(guest);
    else if (status === 'inmigrate' || status === 'prelaunch') await agent.hypervisor.end(guest, 'kill');
    else
      agent.log.error(
        { domain: uuid, migrationId: incoming, status },
        `${name} is in doubt: ask the source of its migration`,
      );
  }
}
