/** What a life of this agent before this one did: its journal says so, and where that is lost, what it has left behind. */
import { handoverOf, recallSent } from '@ferry/agent';
import { type HandoverEntry, HandoverError, readUnlessDamaged } from '@ferry/handover';
import { MigrationError, type Phase } from '@ferry/migration';
import { guestIfAny, type HeldOut, type SourceAgent, type SourceState } from './agent.ts';

export const performOf = (protocol: 2 | 3): Phase => (protocol === 2 ? 'perform2' : 'perform3');

/** What is recorded before memory flows, in the job, may be all that is left there: Redis may have come back from before that. */
const beforePerform = (phase: Phase | undefined): boolean => phase === undefined || phase === 'begin3';

export function fillIn(state: SourceState, noted: HandoverEntry): void {
  state.recalled = 'journaled';
  recallSent(state, noted);
  state.incarnation = noted.incarnation;
  // The journal comes before the vote; whether the vote followed is not known, so it counts as given.
  state.voted = true;
  state.sent ||= noted.voteSeen;
  state.decision = noted.decision;
  state.doneWithRegister = noted.asking;
  state.destinationAddress ||= noted.peerAddress;
}

/** Nothing is decided before this has returned. Throws HandoverError journal-unreadable; whatever keeps QEMU from being asked. */
export async function recall(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const { state, ongoing } = held;
  if (state.recalled === 'here' || state.recalled === 'journaled' || state.recalled === 'lost') return;
  const { migrationId } = ongoing.start;
  const noted = await readUnlessDamaged(agent.journals.of(migrationId)).catch((error: unknown) => {
    if (error instanceof HandoverError && error.kind === 'journal-unreadable') state.recalled = 'unreadable';
    throw error;
  });
  if (noted !== undefined && noted !== 'damaged') {
    fillIn(state, noted);
    if (beforePerform(held.phase)) held.phase = performOf(state.protocol);
    return;
  }
  if (!(await maySent(agent, held, signal))) {
    state.recalled = 'journaled';
    return;
  }
  if (beforePerform(held.phase)) held.phase = performOf(state.protocol);
  state.voted = true;
  // The journal may have said that the register is asked no more.
  state.doneWithRegister = true;
  state.recalled = 'lost';
  const addresses = await agent.register.renew(handoverOf(held), signal).catch(() => undefined);
  state.destinationAddress ||= addresses?.dest ?? '';
}

/** Whether the guest may have been sent, as far as the job and its QEMU show. What the job says of a decision was recorded when that was known. */
async function maySent(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<boolean> {
  const { phase, state } = held;
  if (phase === 'confirm3' || phase === 'confirm3-cancelled') {
    state.decision ??= phase === 'confirm3' ? 'committed' : 'aborted';
    return false;
  }
  const guest = await guestIfAny(agent, held, signal);
  if (guest === undefined) return !beforePerform(phase);
  const { status } = await guest.monitor.execute('query-status', {}, signal);
  return status === 'postmigrate' || status === 'finish-migrate';
}

/** Why a migration whose journal is lost is in doubt: `error` is what the destination said, or why it could not be asked. */
export function lostJournal(agent: SourceAgent, { ongoing }: HeldOut, error: unknown): MigrationError {
  const { migrationId, domainName } = ongoing.start;
  const where = `${agent.config.stateDir}/handover/source/${migrationId}.json`;
  const what = `the journal of the migration of ${domainName} is not there (${where}), so only its destination can tell how it was decided`;
  const why = error instanceof Error ? error.message : String(error);
  return new MigrationError('in-doubt', `${what}: ${why}`, { cause: error });
}
