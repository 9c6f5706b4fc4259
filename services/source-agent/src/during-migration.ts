/** What a guest's user wants of it while it migrates: it holds on whichever host the guest ends up, or it is refused. */
import type { Guest } from '@ferry/hypervisor';
import { MigrationError } from '@ferry/migration';
import type { HeldOut, SourceAgent } from './agent.ts';

/** How long a QEMU may take to say whether it has stopped its guest, ms. */
const answerMs = 2_000;

/**
 * Runs `act` on a guest that may be migrating. The wish is noted first, so that a switchover that comes meanwhile respects it. Throws MigrationError
 * switching-over once the guest is stopped for the switchover: what is done to this copy then would not be done to the guest. A migration that is
 * in doubt, or being settled, is left to the caller.
 */
export async function duringMigration(
  agent: SourceAgent,
  guest: Guest,
  wish: 'pausing' | 'destroyed',
  act: () => Promise<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const held = agent.migrations.all().find(({ ongoing }) => ongoing.start.domainUuid === guest.uuid);
  if (held === undefined) {
    await act();
    return;
  }
  const before = held.state[wish];
  if (!held.state.switchedOver) held.state[wish] = true;
  try {
    if (held.state.switchedOver && held.unsettled === undefined) await refuseIfStopped(held, guest, signal);
    held.state[wish] = true;
    await act();
  } catch (error) {
    held.state[wish] = before;
    throw error;
  }
}

async function refuseIfStopped({ ongoing, state }: HeldOut, guest: Guest, signal: AbortSignal): Promise<void> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
  const { status } = await guest.monitor.execute('query-status', {}, patience);
  if (status !== 'finish-migrate' && status !== 'postmigrate') return;
  const there =
    state.destinationAddress === '' ? 'its destination' : `its destination, the agent at ${state.destinationAddress}`;
  const message = `domain ${guest.name} is stopped for its switchover in migration ${ongoing.start.migrationId}`;
  throw new MigrationError('switching-over', `${message}: ask ${there}, or here again if the migration fails`);
}
