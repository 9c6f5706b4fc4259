/** What the destination does with a migration that nobody executes any more: one path for exceptions, lost leases, lost peers and restarts. */
import { claimSent, handoverOf, type OutcomeWord, settledByOwner, startedElsewhere } from '@ferry/agent';
import { MigrationError, recoveryOf } from '@ferry/migration';
import { type HandoverEntry, HandoverError } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import type { MigrationJob } from '@ferry/jobs';
import { failureOf } from '@ferry/rpc';
import { type DestAgent, type DestState, type HeldIn, journal, newState, optionsOf, wasNeverTold } from './agent.ts';
import { decide } from './decision.ts';
import { Incoming } from './incoming.ts';
import { fillIn, recall } from './recall.ts';
import { giveGuest, startGuest } from './start.ts';

/** Follows the phase's recovery row; gives how the migration ended. Throws when that cannot be known yet: then it is tried again. */
export async function recover(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  const { state, ongoing } = held;
  const { migrationId, domainUuid: domain } = ongoing.start;
  const wasUnreadable = state.recalled === 'unreadable';
  await recall(agent, held, signal);
  if (wasUnreadable && state.guest === undefined && (await attach(agent, state, { domain, migrationId }, signal))) {
    return state.decision === 'aborted' ? 'failed' : 'completed';
  }
  const row = recoveryOf('dest', held.phase);
  switch (row) {
    case 'destroy-incoming':
    case 'keep-if-running':
      // Finish is recorded while it runs, and it may have been told to give up: what counts is whether it tried to commit.
      // A copy that is whole may be the only one, whoever has tried what.
      return state.mayHaveCommitted || (await isWhole(agent, state, signal))
        ? keepIfRunning(agent, held, signal)
        : destroyIncoming(agent, held, signal);
    case 'forget':
    case 'cancel-and-resume':
    case 'ask-decision':
    case 'resume-source':
    case 'destroy-source':
      throw new Error(`${row} is not the destination's`);
  }
}

const given = (held: HeldIn): OutcomeWord =>
  held.firstFailure?.reason === 'migration-cancelled' ? 'cancelled' : 'failed';

/** Whether QEMU holds the guest. One that lives and does not answer may: throws why. */
async function isWhole(agent: DestAgent, { guest }: DestState, signal: AbortSignal): Promise<boolean> {
  if (guest === undefined || guest.monitor.closed.aborted || !agent.hypervisor.isAlive(guest)) return false;
  const { status } = await guest.monitor.execute('query-status', {}, signal);
  return status !== 'inmigrate';
}

/** This side has not tried to commit, and its copy is not whole, so it may drop it freely; the register is told so that the source need not wait. */
async function destroyIncoming(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  held.state.decision = 'aborted';
  await endIncoming(agent, held);
  const { migrationId } = held.ongoing.start;
  const courtesy = AbortSignal.any([signal, AbortSignal.timeout(1_000)]);
  await agent.register.abort(handoverOf(held), courtesy).catch((error: unknown) => {
    agent.log.warn({ err: error, migrationId }, 'the register could not be told that the guest was dropped');
  });
  return given(held);
}

/** A QEMU that runs is committed, whatever else is known. One that does not asks for the decision. */
async function keepIfRunning(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<OutcomeWord> {
  const { state } = held;
  const { guest } = state;
  const status = await guest?.monitor.execute('query-status', {}, signal).catch(() => undefined);
  // Only a guest that was loaded whole can have been committed.
  if (status?.status === 'inmigrate') return destroyIncoming(agent, held, signal);
  const gone = guest === undefined || guest.monitor.closed.aborted;
  // A copy that does not answer counts as whole: it may be the only one, so the source is asked before it is ended.
  state.whole = !gone;
  const running = status?.status === 'running';
  if (running) state.decision = 'committed';
  let decision = await decide(agent, held, signal).catch((error: unknown) => error);
  if (decision === 'committed' && gone && state.grant !== undefined && wasNeverTold(state) && !state.decidedByWord) {
    // As after a refusal: it has not run here, and the source's copy may be whole.
    state.decision = undefined;
    decision = await decide(agent, held, signal);
  }
  if (decision !== 'committed' && decision !== 'aborted') return endIfElsewhere(agent, held, decision, signal);
  if (decision === 'aborted') {
    await endIncoming(agent, held);
    await giveBack(agent, held, signal);
    return held.state.decidedByWord ? 'lost' : given(held);
  }
  await refuseMisplaced(agent, held);
  if (gone) return lost(agent, held);
  // Every other state is the guest's own, here or before it was sent: QEMU would refuse `cont`, or it would not be ours to give.
  const waits = status === undefined || status.status === 'paused' || status.status === 'prelaunch';
  if (waits && state.paused) await giveGuest(agent, held, signal);
  else if (waits) {
    try {
      await claimSent(agent, held, signal);
    } catch (error) {
      return endIfElsewhere(agent, held, error, signal);
    }
    await startGuest(agent, held, signal);
  }
  state.releasePort();
  await agent.hypervisor.settle(guest);
  return 'completed';
}

/** The guest was started on a third host: this copy, which is older, is ended. Where that is not proved, throws why the migration cannot be settled. */
async function endIfElsewhere(
  agent: DestAgent,
  held: HeldIn,
  cause: unknown,
  signal: AbortSignal,
): Promise<OutcomeWord> {
  const { state, phase } = held;
  const elsewhere = await startedElsewhere(agent, held, signal);
  if (elsewhere === undefined) throw cause;
  state.decision ??= 'aborted';
  await journal(agent, held);
  await endIncoming(agent, held);
  held.firstFailure = failureOf(elsewhere, { side: 'dest', phase });
  return 'lost';
}

/**
 * A commit that was granted, or may have been, and must not be acted on, has made this host the guest's owner: no longer, or it could be started
 * here while it goes on at the source. Throws while Redis cannot be asked: it remains owed, and until then this side's job keeps the record from
 * being released. Where Redis has another incarnation, or has lost the record, the source's own claim stands.
 */
async function giveBack(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<void> {
  const { migrationId, domainUuid } = held.ongoing.start;
  await agent.register.giveBack(handoverOf(held), signal).catch(async (error: unknown) => {
    if (!(error instanceof HandoverError)) throw error;
    // A record that the script fails on stays so; the ownership record says by itself whether there is anything to give back.
    const isMine = error.kind === 'register-reply' && (await isOwner(agent, domainUuid, signal));
    if (isMine || (error.kind !== 'register-changed' && error.kind !== 'register-reply')) throw error;
    agent.log.warn({ err: error, migrationId }, 'the guest could not be given back in the record');
  });
}

async function isOwner(agent: DestAgent, domain: string, signal: AbortSignal): Promise<boolean> {
  return (await agent.owners.of(domain, signal))?.host === agent.config.host.name;
}

/** A QEMU of which not even its directory is there need not have ended: the agent may have been started with another state directory. */
async function refuseMisplaced(agent: DestAgent, { state, ongoing }: HeldIn): Promise<void> {
  const { domainUuid, domainName } = ongoing.start;
  if (state.recalled !== 'lost' || (await agent.hypervisor.places()).includes(domainUuid)) return;
  const { stateDir } = agent.config;
  throw new MigrationError(
    'in-doubt',
    `${domainName} was committed to this host, and neither the journal of its migration nor its QEMU’s directory is in ${stateDir}: is that the state directory (FERRY_STATE_DIR) that this agent had before?`,
  );
}

/** Committed, and ended since by itself: there is nothing left to keep. Whatever the migration met with first, that is what matters. */
async function lost(agent: DestAgent, held: HeldIn): Promise<OutcomeWord> {
  await endIncoming(agent, held);
  const { domainName } = held.ongoing.start;
  const gone = new MigrationError('guest-gone', `the guest of domain ${domainName} came over and has ended since`);
  held.firstFailure = failureOf(gone, { side: 'dest', phase: held.phase });
  return 'lost';
}

/** What would settle a guest that came whole, whose fate this agent does not know. */
export function settledBy(held: HeldIn): string | undefined {
  const { state, ongoing } = held;
  if (state.recalled === 'unreadable')
    return 'its journal in handover/dest of the state directory, once that can be read';
  if (state.recalled === 'lost' && state.decision === 'committed' && state.guest === undefined)
    return 'a start of this agent with the state directory (FERRY_STATE_DIR) that it had before';
  const named = settledByOwner(held);
  if (named !== undefined) return named;
  if ((!state.mayHaveCommitted && !state.whole) || state.decision !== undefined) return undefined;
  const other = state.sourceAddress === '' ? 'the source agent' : `the agent at ${state.sourceAddress}`;
  const register = state.doneWithRegister ? '' : ', or Redis,';
  return `an answer of ${other}${register}; if that host is gone for good: ferry resolve ${ongoing.start.migrationId}`;
}

/** Written down first: a later life that finds no QEMU must know that this side dropped it. */
async function endIncoming(agent: DestAgent, held: HeldIn): Promise<void> {
  const { state } = held;
  if (state.decision === 'aborted' && state.incoming !== undefined) await journal(agent, held);
  state.incoming?.[Symbol.dispose]();
  if (state.guest !== undefined) await agent.hypervisor.end(state.guest, 'kill');
  // It may have ended while no agent was there to see it.
  else await agent.hypervisor.collect([held.ongoing.start.domainUuid]);
  state.releasePort();
}

/** A QEMU that dies while it waits ends the migration here at once, with its last words. */
export function watchDeath(agent: DestAgent, held: HeldIn): void {
  held.state.incoming?.failed.catch((error: unknown) => {
    if (agent.migrations.find(held.ongoing.start.migrationId) !== held) return;
    const cause = error instanceof Error ? error : new MigrationError('incoming-failed', String(error));
    agent.migrations
      .giveUp(held, cause)
      .catch((failed: unknown) => agent.log.error({ err: failed }, 'could not give up'));
  });
}

/** What this agent's predecessor left of a migration, from the job's options, the journal and the QEMU that waits; and how it ended, if that is known. */
export async function revive(
  agent: DestAgent,
  job: MigrationJob,
  signal: AbortSignal,
): Promise<{ state: DestState; outcome: OutcomeWord | undefined }> {
  const { protocol, incarnation = '', run = '', paused } = job.options;
  const state = newState(protocol === '2' ? 2 : 3, incarnation, paused === 'true', false, run);
  let noted: HandoverEntry | undefined;
  try {
    noted = await agent.journals.of(job.migrationId).read();
    state.recalled = noted === undefined ? 'unread' : 'journaled';
  } catch (error) {
    // It is read before anything is decided, and the migration is shown as in doubt until then.
    if (!(error instanceof HandoverError)) throw error;
    state.recalled = error.kind === 'journal-unreadable' ? 'unreadable' : 'unread';
  }
  return { state, outcome: await addNoted(agent, state, job, noted, signal) };
}

type Names = Pick<MigrationJob, 'domain' | 'migrationId'>;

/** Adds what the journal and the host know; gives how the migration ended, if they know that it did. Throws if the QEMU does not answer. */
async function addNoted(
  agent: DestAgent,
  state: DestState,
  names: Names,
  noted: HandoverEntry | undefined,
  signal: AbortSignal,
): Promise<OutcomeWord | undefined> {
  state.revived = true;
  if (noted !== undefined) fillIn(state, noted);
  if (noted?.ended === true) {
    if (noted.startedOn !== '') return 'lost';
    return noted.decision === 'committed' ? 'completed' : 'failed';
  }
  const isSettled = await attach(agent, state, names, signal);
  if (!isSettled || state.recalled === 'unreadable') return undefined;
  return noted?.decision === 'aborted' ? 'failed' : 'completed';
}

/** Finds the QEMU that waits. Gives whether the guest has settled here instead: then it is not this migration's to touch any more, since its user may have paused it. */
async function attach(
  agent: DestAgent,
  state: DestState,
  { domain, migrationId }: Names,
  signal: AbortSignal,
): Promise<boolean> {
  const guest = await agent.hypervisor.guest(domain, signal).catch((error: unknown) => {
    if (error instanceof HypervisorError && error.kind === 'domain-not-found') return undefined;
    throw error;
  });
  if (guest?.incoming === migrationId) {
    state.guest = guest;
    state.incoming = new Incoming(guest.monitor, () => agent.hypervisor.logTail(domain));
  }
  return guest !== undefined && guest.incoming === undefined;
}

/** Settles the migrations that only the journal knows: Redis has forgotten their jobs. Throws if one cannot be taken up yet. */
export async function takeUpJournaled(agent: DestAgent, signal: AbortSignal): Promise<void> {
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

async function takeUpOne(agent: DestAgent, noted: HandoverEntry, signal: AbortSignal): Promise<void> {
  const record = await agent.jobs.recordOf(noted.domain, noted.migrationId, signal);
  if (record?.outcome !== undefined) {
    const came = record.outcome === 'completed' || record.outcome === 'lost';
    const decision = noted.decision ?? (came ? 'committed' : 'aborted');
    await agent.journals.of(noted.migrationId).write({ ...noted, decision, ended: true });
    return;
  }
  const { migrationId, domain: domainUuid, name: domainName, protocol, wasRunning, incarnation, run } = noted;
  const start = { migrationId, domainUuid, domainName, side: 'dest', protocol } as const;
  const phase = protocol === 2 ? 'finish2' : 'finish3';
  const state = newState(protocol, incarnation, !wasRunning, false, run);
  try {
    const outcome = await addNoted(agent, state, noted, noted, signal);
    const options = optionsOf(domainName, state);
    await agent.migrations.takeUp({ start, state, outcome, options }, phase, signal);
  } catch (error) {
    // The next try asks QEMU anew.
    if (agent.migrations.find(migrationId) === undefined) state.incoming?.[Symbol.dispose]();
    throw error;
  }
}

/** A QEMU that waits for a guest of which Redis knows nothing any more: one that has not loaded it whole can be ended. */
export async function endOrphans(agent: DestAgent, signal: AbortSignal): Promise<void> {
  const isOrphan = ({ incoming }: { incoming?: string | undefined }): boolean =>
    incoming !== undefined && agent.migrations.find(incoming) === undefined;
  await agent.hypervisor.collect((await agent.hypervisor.leftBehind()).filter(isOrphan).map(({ uuid }) => uuid));
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
