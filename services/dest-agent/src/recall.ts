/** What a life of this agent before this one did: its journal says so, and where that is lost, what it has left behind. */
import { handoverOf, recallSent } from '@ferry/agent';
import { type HandoverEntry, HandoverError, readUnlessDamaged } from '@ferry/handover';
import type { DestAgent, DestState, HeldIn } from './agent.ts';

/** The source stops the guest only when it has asked here whether all is ready, and the journal then knows where the source is (ready.ts). */
const couldCommit = ({ peerAddress, decision }: HandoverEntry): boolean => peerAddress !== '' || decision !== undefined;

export function fillIn(state: DestState, noted: HandoverEntry): void {
  state.recalled = 'journaled';
  recallSent(state, noted);
  state.incarnation = noted.incarnation;
  state.mayHaveCommitted ||= couldCommit(noted);
  state.decision = noted.decision;
  state.sourceAddress ||= noted.peerAddress;
  state.voteSeen = noted.voteSeen;
  for (const life of noted.promised) state.promised.add(life);
}

/** Nothing is decided before this has returned. Throws HandoverError journal-unreadable; whatever keeps Redis or QEMU from being asked. */
export async function recall(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<void> {
  const { state, ongoing } = held;
  if (state.recalled !== 'unread' && state.recalled !== 'unreadable') return;
  const { migrationId } = ongoing.start;
  const noted = await readUnlessDamaged(agent.journals.of(migrationId)).catch((error: unknown) => {
    if (error instanceof HandoverError && error.kind === 'journal-unreadable') state.recalled = 'unreadable';
    throw error;
  });
  if (noted !== undefined && noted !== 'damaged') return fillIn(state, noted);
  if (!(await mayHaveCome(agent, held, signal))) {
    state.recalled = 'journaled';
    return;
  }
  state.mayHaveCommitted = true;
  // The journal may have said that the source has our promise: what the register grants is not to be acted on.
  state.doneWithRegister = true;
  state.recalled = 'lost';
  const addresses = await agent.register.renew(handoverOf(held), signal).catch(() => undefined);
  state.sourceAddress ||= addresses?.source ?? '';
}

/** Whether the guest may have come whole, as far as its QEMU and the job show: before Prepare has answered nobody sends it. */
async function mayHaveCome(agent: DestAgent, { state, phase, ongoing }: HeldIn, signal: AbortSignal): Promise<boolean> {
  const { guest } = state;
  // One that has ended shows nothing, and is not asked again and again.
  if (guest !== undefined && !guest.monitor.closed.aborted && agent.hypervisor.isAlive(guest)) {
    const { status } = await guest.monitor.execute('query-status', {}, signal);
    return status !== 'inmigrate' && status !== 'prelaunch';
  }
  if (phase !== undefined && phase !== 'prepare') return true;
  const { migrationId, domainUuid } = ongoing.start;
  return (await agent.jobs.replyOf(domainUuid, migrationId, 'prepare', signal)) !== undefined;
}
