/** What the source does with a migration that nobody executes any more: one path for exceptions, lost leases, lost peers and restarts. */
import { settledByOwner, startedElsewhere } from '@ferry/agent';
import { type HandoverEntry, HandoverError } from '@ferry/handover';
import type { MigrationJob } from '@ferry/jobs';
import { isPhase, MigrationError, phases, type Phase, recoveryOf } from '@ferry/migration';
import { failureOf } from '@ferry/rpc';
import type { HeldOut, OutcomeWord, SourceAgent } from './agent.ts';
import { guestIfAny, journal, newState, optionsOf } from './agent.ts';
import { decide, releaseGuest, resumeGuest } from './decision.ts';
import { endLeftCopy } from './left-copy.ts';
import { stopOutgoing } from './outgoing.ts';
import { fillIn, performOf, recall } from './recall.ts';

/** Follows the phase's recovery row; gives how the migration ended. Throws when that cannot be known yet: then it is tried again. */
export async function recover(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<OutcomeWord> {
  await recall(agent, held, signal);
  const row = recoveryOf('source', held.phase);
  switch (row) {
    case 'forget':
      await tellRegister(agent, held, signal);
      return given(held);
    case 'cancel-and-resume':
      return cancelAndResume(agent, held, signal);
    case 'ask-decision':
      return askDecision(agent, held, signal);
    case 'resume-source':
      return resume(agent, held, signal);
    case 'destroy-source':
      await releaseGuest(agent, held, signal);
      return 'completed';
    case 'destroy-incoming':
    case 'keep-if-running':
      throw new Error(`${row} is not the source's`);
  }
}

/** Somebody's wish or an accident. */
const given = (held: HeldOut): OutcomeWord =>
  held.firstFailure?.reason === 'migration-cancelled' ? 'cancelled' : 'failed';

async function cancelAndResume(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<OutcomeWord> {
  const guest = await guestIfAny(agent, held, signal);
  if (guest === undefined) {
    // It may have been sent before it ended, and the vote given.
    if (held.state.voted) return askDecision(agent, held, signal);
    await tellRegister(agent, held, signal);
    return lost(agent, held);
  }
  await tellCancelled(agent, held, signal);
  // Too late to stop it, or the vote was given: the guest is stopped for good and may only run by a decision.
  if ((await stopOutgoing(guest.monitor, signal)) === 'completed') return askDecision(agent, held, signal);
  // QEMU lets a guest run on that it had stopped for the switchover before its user's Suspend came.
  if (held.state.pausing) await guest.monitor.execute('stop', {}, signal);
  await tellRegister(agent, held, signal);
  void agent.hypervisor.forgetEncryption(guest);
  return given(held);
}

async function askDecision(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<OutcomeWord> {
  const decision = await decide(agent, held, signal).catch((error: unknown) => error);
  if (decision !== 'committed' && decision !== 'aborted')
    return (await endIfDestroyed(agent, held, signal)) ?? endIfElsewhere(agent, held, decision, signal);
  const phase: Phase = decision === 'committed' ? 'confirm3' : 'confirm3-cancelled';
  await writeDown(agent, held, phase, signal);
  if (decision === 'committed') {
    await releaseGuest(agent, held, signal);
    return held.state.decidedByWord ? 'lost' : 'completed';
  }
  return resume(agent, held, signal);
}

/**
 * Its user has ended this copy (Destroy) while nobody could say how it was decided. No copy continues for this side's word from now on; the
 * destination may have taken the guest over all the same, so that the ownership record is its host's. Undefined if it is not so.
 */
async function endIfDestroyed(
  agent: SourceAgent,
  held: HeldOut,
  signal: AbortSignal,
): Promise<OutcomeWord | undefined> {
  const { state, ongoing } = held;
  const { domainUuid, migrationId } = ongoing.start;
  if (!state.destroyed || state.peerHost === '' || (await guestIfAny(agent, held, signal)) !== undefined)
    return undefined;
  await agent.owners.cede(domainUuid, migrationId, state.peerHost, signal);
  state.asserted = false;
  state.decision ??= 'aborted';
  await journal(agent, held);
  return lost(agent, held);
}

/** A guest that has ended meanwhile cannot run on. */
async function resume(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<OutcomeWord> {
  const guest = await guestIfAny(agent, held, signal);
  if (guest === undefined) return lost(agent, held);
  try {
    await resumeGuest(agent, held, signal);
  } catch (error) {
    if (!(error instanceof HandoverError) || error.kind !== 'owned-elsewhere') throw error;
    return endIfElsewhere(agent, held, error, signal);
  }
  void agent.hypervisor.forgetEncryption(guest);
  return given(held);
}

/** The guest was started on a third host: this copy, which is older, is ended. Where that is not proved, throws why the migration cannot be settled. */
async function endIfElsewhere(
  agent: SourceAgent,
  held: HeldOut,
  cause: unknown,
  signal: AbortSignal,
): Promise<OutcomeWord> {
  const { state, phase } = held;
  const elsewhere = await startedElsewhere(agent, held, signal);
  // One that runs here is never ended: that is reported as a guest that runs twice.
  const status = await (await guestIfAny(agent, held, signal))?.monitor.execute('query-status', {}, signal);
  if (elsewhere === undefined || status?.status === 'running') throw cause;
  state.decision ??= 'aborted';
  await journal(agent, held);
  await releaseGuest(agent, held, signal);
  held.firstFailure = failureOf(elsewhere, { side: 'source', phase });
  return 'lost';
}

/** The guest's QEMU has ended here, and no other copy may run. Whatever the migration met with first, that is what matters. */
async function lost(agent: SourceAgent, held: HeldOut): Promise<OutcomeWord> {
  const { domainName, domainUuid } = held.ongoing.start;
  await agent.hypervisor.collect([domainUuid]);
  if (held.firstFailure?.reason === 'guest-ended') return 'ended';
  if (held.state.destroyed) {
    const ended = new MigrationError('guest-ended', `domain ${domainName} was ended on its user’s wish (Destroy)`);
    held.firstFailure = failureOf(ended, { side: 'source', phase: held.phase });
    return 'ended';
  }
  if (held.firstFailure?.reason !== 'guest-gone') {
    const first = held.firstFailure === undefined ? '' : ` (the migration had met with: ${held.firstFailure.message})`;
    const gone = new MigrationError('guest-gone', `the guest of domain ${domainName} has ended on the source${first}`);
    held.firstFailure = failureOf(gone, { side: 'source', phase: held.phase });
  }
  return 'lost';
}

/** What would settle a guest that was sent, whose fate this agent does not know. */
export function settledBy(held: HeldOut): string | undefined {
  const { state, ongoing } = held;
  if (state.recalled === 'unreadable')
    return 'its journal in handover/source of the state directory, once that can be read';
  const named = settledByOwner(held);
  if (named !== undefined) return named;
  if (!state.voted || state.decision !== undefined) return undefined;
  const other = state.destinationAddress === '' ? 'the destination agent' : `the agent at ${state.destinationAddress}`;
  const register = state.doneWithRegister ? '' : ', or Redis,';
  return `an answer of ${other}${register}; if that host is gone for good: ferry resolve ${ongoing.start.migrationId}`;
}

/** Writes the phase down before the act; the register has the decision already, so a job that is lost does not hinder it. */
async function writeDown(agent: SourceAgent, held: HeldOut, phase: Phase, signal: AbortSignal): Promise<void> {
  held.phase = phase;
  await held.bookkeeping.catch(() => undefined);
  await agent.jobs.migrationJobSetPhase(held.job, phase, signal).catch((error: unknown) => {
    agent.log.warn(
      { err: error, migrationId: held.ongoing.start.migrationId, phase },
      'the phase could not be recorded',
    );
  });
}

/**
 * Lets the destination know that nothing more comes. The guest was not sent whole and there was no vote, so this is a courtesy that
 * lets it clear up at once: the destination cannot commit without a vote.
 */
async function tellRegister(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  await decide(agent, held, AbortSignal.any([signal, AbortSignal.timeout(1_000)])).catch((error: unknown) => {
    const { migrationId } = held.ongoing.start;
    agent.log.warn(
      { err: error, migrationId },
      'the register could not be told; the destination clears up when its time is over',
    );
  });
}

/**
 * A destination whose stream breaks off sees a QEMU that could not load the guest: it is told the cause before. It decides nothing by that which it
 * would not decide by itself.
 */
async function tellCancelled(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const { destinationAddress } = held.state;
  if (held.firstFailure?.reason !== 'migration-cancelled' || destinationAddress === '') return;
  const { migrationId, domainUuid: domain } = held.ongoing.start;
  const courtesy = AbortSignal.any([signal, AbortSignal.timeout(1_000)]);
  const told = agent.destinationAt(destinationAddress).abortMigration({ migrationId, domain }, courtesy);
  await told.catch((error: unknown) => {
    agent.log.info({ err: error, migrationId }, 'the destination could not be told that the migration is cancelled');
  });
}

/** What this agent's predecessor left of a migration, from the job's options and the journal; and how it ended, if the journal says that it did. */
export async function revive(
  agent: SourceAgent,
  job: MigrationJob,
): Promise<{ state: HeldOut['state']; outcome: OutcomeWord | undefined; phase: Phase | undefined }> {
  // What cannot be read now is read before anything is decided, and the migration is shown as in doubt until then.
  const noted = await agent.journals.of(job.migrationId).read().catch(unlessJournal);
  const { options } = job;
  const protocol = noted?.protocol ?? protocolOf(job);
  // A record that lacks them, as Redis has evicted it, is of no incarnation: the register answers "changed", and QEMU and the destination tell.
  const incarnation = noted?.incarnation ?? options['incarnation'] ?? '';
  const wasRunning = noted?.wasRunning ?? options['wasRunning'] !== 'false';
  const state = newState(protocol, wasRunning, incarnation, options['run'] ?? '');
  if (noted === undefined) state.recalled = 'unread';
  else fillIn(state, noted);
  // The journal is written before memory flows; Redis may have come back from before that.
  const behind = noted !== undefined && (job.phase === 'none' || job.phase === 'begin3');
  return { state, outcome: endOf(noted), phase: behind ? performOf(protocol) : undefined };
}

/** By the phase where the record does not say it. */
function protocolOf({ options, phase }: MigrationJob): 2 | 3 {
  const isOfVersion2 = isPhase(phase) && !phases[phase].protocols.includes(3);
  return (options['protocol'] ?? (isOfVersion2 ? '2' : '3')) === '2' ? 2 : 3;
}

function unlessJournal(error: unknown): undefined {
  if (!(error instanceof HandoverError)) throw error;
}

const endOf = (noted: HandoverEntry | undefined): OutcomeWord | undefined =>
  noted?.ended !== true
    ? undefined
    : noted.startedOn !== ''
      ? 'lost'
      : noted.decision === 'committed'
        ? 'completed'
        : 'failed';

/** Settles the migrations that only the journal knows: Redis has forgotten their jobs. Throws if one cannot be taken up yet. */
export async function takeUpJournaled(agent: SourceAgent, signal: AbortSignal): Promise<void> {
  const isKnown = async ({ domain, migrationId }: HandoverEntry): Promise<boolean> =>
    (await agent.jobs.recordOf(domain, migrationId, signal)) !== undefined;
  const { entries, unknown } = await agent.journals.unfinished(isKnown);
  // One that is damaged stays so; what it would have said is asked of the other agent where a job or a QEMU is left of its migration.
  const failures: unknown[] = unknown.map(({ error }) => error).filter(({ kind }) => kind !== 'journal-damaged');
  for (const noted of entries) {
    if (agent.migrations.find(noted.migrationId) !== undefined) continue;
    await takeUpOne(agent, noted, signal).catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}

async function takeUpOne(agent: SourceAgent, noted: HandoverEntry, signal: AbortSignal): Promise<void> {
  const record = await agent.jobs.recordOf(noted.domain, noted.migrationId, signal);
  if (record?.outcome !== undefined) {
    const decision = noted.decision ?? (record.outcome === 'completed' ? 'committed' : 'aborted');
    if (decision === 'committed' && record.outcome === 'completed') await endLeftCopy(agent, noted, signal);
    await agent.journals.of(noted.migrationId).write({ ...noted, decision, ended: true });
    return;
  }
  const { migrationId, domain: domainUuid, name: domainName, protocol, wasRunning, incarnation, run } = noted;
  const start = { migrationId, domainUuid, domainName, side: 'source', protocol } as const;
  const state = newState(protocol, wasRunning, incarnation, run);
  fillIn(state, noted);
  const options = optionsOf(domainName, state);
  await agent.migrations.takeUp({ start, state, options }, performOf(protocol), signal);
}
