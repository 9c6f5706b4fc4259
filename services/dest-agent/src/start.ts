/** The one place where the destination lets a guest run that was committed. */
import { MigrationError } from '@ferry/migration';
import { QmpError } from '@ferry/qemu-qmp';
import { type DestAgent, type HeldIn, journal, wasNeverTold } from './agent.ts';
import { decide } from './decision.ts';

/**
 * Lets the guest run; gives when its CPUs started, µs since 1970. If QEMU refuses, a disk being locked or its storage away, or has ended before it was told, the guest has not run
 * here and the source may still have it: then the commit is withdrawn if that is possible still (spec/README.md, step 7). Throws QEMU's refusal, whatever came of that.
 */
export async function startGuest(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<number> {
  const { state } = held;
  const { incoming } = state;
  if (incoming === undefined) throw new MigrationError('incoming-failed', 'there is no waiting QEMU');
  try {
    refuseDead(agent, held);
    const resumedAtUs = await incoming.start(signal);
    state.started = true;
    return resumedAtUs;
  } catch (error) {
    await withdrawIfPossible(agent, held, error, signal);
    throw error;
  }
}

/**
 * Gives a guest that did not run at its switchover to its user as it is. Until the journal says so it has not run here, since nobody resumes a guest that is coming in:
 * if its QEMU has ended, the commit is withdrawn as after a refusal. Throws MigrationError incoming-failed then.
 */
export async function giveGuest(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<void> {
  try {
    refuseDead(agent, held);
  } catch (error) {
    await withdrawIfPossible(agent, held, error, signal);
    throw error;
  }
  // It shows nobody that it was taken over; one that runs does.
  await journal(agent, held);
  held.state.started = true;
}

async function withdrawIfPossible(agent: DestAgent, held: HeldIn, error: unknown, signal: AbortSignal): Promise<void> {
  if (!(await mayWithdraw(held, error, signal))) return;
  held.state.decision = undefined;
  await decide(agent, held, signal).catch((failed: unknown) => {
    const { migrationId } = held.ongoing.start;
    agent.log.warn({ err: failed, migrationId }, 'the guest was not started, and the commit cannot be withdrawn yet');
  });
}

/** QEMU has ended, and was never told `cont`. */
class DeadBeforeCont extends MigrationError {}

function refuseDead(agent: DestAgent, { state, ongoing }: HeldIn): void {
  const { guest } = state;
  if (!wasNeverTold(state)) return;
  if (guest === undefined || (!guest.monitor.closed.aborted && agent.hypervisor.isAlive(guest))) return;
  const message = `the destination’s QEMU of domain ${ongoing.start.domainName} ended between the commit and its start`;
  throw new DeadBeforeCont('incoming-failed', message);
}

/** QEMU refuses `cont` before it starts a CPU (qmp_cont), and a guest that has run since it was loaded is not `paused`: nobody stops one that comes in. */
async function mayWithdraw({ state }: HeldIn, error: unknown, signal: AbortSignal): Promise<boolean> {
  const dead = error instanceof DeadBeforeCont;
  if (!dead && (!(error instanceof QmpError) || error.kind !== 'qemu-refused')) return false;
  // Who has gone on here once may have been paused by its user since.
  if (state.started) return false;
  // A commit that the source or a person told of is not the register's to take back.
  if (state.grant === undefined || state.decidedByWord) return false;
  if (dead) return true;
  const now = await state.guest?.monitor.execute('query-status', {}, signal).catch(() => undefined);
  return now?.status === 'paused';
}
