/** The two ends of a migration on the source, and the question that comes before them. */
import { claimSent, handoverOf, labelsOf, nowUs, saidIfLong, currentCaller, refuseForeignAgent } from '@ferry/agent';
import { HandoverError, readUnlessDamaged } from '@ferry/handover';
import { MigrationError } from '@ferry/migration';
import {
  Answer,
  type AskRequest,
  type AskResponse,
  type MigrationStatistics,
  Outcome,
} from '@ferry/proto/ferry/v1/migration';
import { isHere } from '@ferry/qemu-qmp';
import { guestIfAny, guestOf, type HeldOut, journal, type SourceAgent } from './agent.ts';
import { bindIfLast, handOverIfLast, hasEnded, isInRegister, isSent } from './hand-over.ts';
import { statisticsOf } from './outgoing.ts';
import { lostJournal, recall } from './recall.ts';

/** How long the register may be away before the destination is asked: the guest is paused meanwhile, ms. */
const registerPatienceMs = 1_000;
/** How long QEMU may take to give its last figures: its copy is ended without them, ms. */
const figuresMs = 1_000;

/**
 * Makes the decision, or learns it: the register says 'aborted' if the destination has not committed, and from then on it cannot; a register that has changed, or stays away, is asked no more. Only
 * a decision lets a guest run again that was sent; a Finish that failed or was lost does not. Throws HandoverError, or why the
 * destination could not be asked: then nothing is known.
 */
export async function decide(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<'committed' | 'aborted'> {
  await recall(agent, held, signal);
  const { state } = held;
  if (state.decision === undefined) {
    const isLost = await hasEnded(agent, held, signal);
    // Whether it ran on here after the destination had everything is not recorded: the destination knows if it has the vote (spec/README.md, step 10).
    const isUnsure = isLost && !isSent(held) && !(await isInRegister(agent, held, signal));
    // A copy that is left elsewhere is not to be given up for one that has ended here.
    await handOverIfLast(agent, held, signal);
    const ask = (await isMisplaced(agent, held))
      ? lookAtDestination
      : state.doneWithRegister || isUnsure
        ? askDestination
        : askRegister;
    const learned = await ask(agent, held, signal).catch((error: unknown) => {
      throw state.recalled === 'lost' ? lostJournal(agent, held, error) : error;
    });
    state.decision ??= learned;
  }
  if (state.voted) await journal(agent, held);
  return state.decision;
}

async function askRegister(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<'committed' | 'aborted'> {
  const { state } = held;
  try {
    return (await agent.register.abort(handoverOf(held), signal)).decision;
  } catch (error) {
    if (!(error instanceof HandoverError) || !mayAskInstead(agent, state, error)) throw error;
    // It may have forgotten a commit, or keeps the guest waiting. From here on only the destination itself can tell (spec/README.md, step 5).
    state.doneWithRegister = true;
    if (!state.voted) return 'aborted';
    if (error.kind === 'register-changed') await agent.migrations.assertNow(held);
    else agent.migrations.assertSoon();
    return askDestination(agent, held, signal);
  }
}

/** A register that lives anew is no use any more; one that does not answer, or with an error, is waited for only as long as a guest can bear. */
function mayAskInstead(agent: SourceAgent, state: HeldOut['state'], { kind }: HandoverError): boolean {
  if (kind === 'register-changed') return true;
  if ((kind !== 'register-unavailable' && kind !== 'register-reply') || !state.voted) return false;
  state.registerAwayMs ??= agent.clock.monotonic();
  return agent.clock.monotonic() - state.registerAwayMs >= registerPatienceMs;
}

/** The destination says what it did, or binds itself not to do it: after its promise it never commits under our vote. */
async function askDestination(
  agent: SourceAgent,
  held: HeldOut,
  signal: AbortSignal,
): Promise<'committed' | 'aborted'> {
  const { migrationId, domainUuid: domain, domainName } = held.ongoing.start;
  const { destinationAddress, incarnation } = held.state;
  if (destinationAddress === '') {
    throw new MigrationError(
      'in-doubt',
      `the register has forgotten the migration of ${domainName}, and its destination is not known`,
    );
  }
  const copyEnded = await hasEnded(agent, held, signal);
  const asker = { askerAddress: agent.config.address, copyEnded, voted: isSent(held), paused: !held.state.wasRunning };
  // A life of this agent that does not know that it has asked would believe the register again.
  await journal(agent, held);
  const question = { migrationId, domain, incarnation, ...asker };
  const asking = agent.destinationAt(destinationAddress).ask(question, signal);
  const what = `the agent at ${destinationAddress}, which is asked how it was decided`;
  const { answer, startedOn } = await saidIfLong(agent.log, what, labelsOf(held), asking);
  if (answer === Answer.ANSWER_COMMITTED) return 'committed';
  if (answer === Answer.ANSWER_ABORTED || answer === Answer.ANSWER_PROMISED) return 'aborted';
  if (answer === Answer.ANSWER_STARTED_ELSEWHERE) held.state.startedOn = startedOn ?? '';
  throw new MigrationError('other-undecided', `the destination of ${domainName} does not know how it was decided`);
}

/**
 * A guest of which neither the journal nor even QEMU's directory is there need not have ended: the agent may have been started with another state
 * directory. It cannot be resumed from here, so the destination is not asked for a promise, which would keep its copy from going on.
 */
async function isMisplaced(agent: SourceAgent, { state, ongoing }: HeldOut): Promise<boolean> {
  return state.recalled === 'lost' && !(await agent.hypervisor.places()).includes(ongoing.start.domainUuid);
}

/** Whether the destination has taken the guest over; asking binds nobody. */
async function lookAtDestination(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<'committed'> {
  const { migrationId, domainUuid: domain, domainName } = held.ongoing.start;
  const { destinationAddress } = held.state;
  const asked =
    destinationAddress === ''
      ? undefined
      : await agent.destinationAt(destinationAddress).getMigration({ migrationId, domain }, signal);
  const outcome = asked?.migration?.outcome;
  if (outcome === Outcome.OUTCOME_COMPLETED || outcome === Outcome.OUTCOME_GUEST_LOST) return 'committed';
  const { stateDir } = agent.config;
  throw new MigrationError(
    'in-doubt',
    `the directory of ${domainName}’s QEMU is not in ${stateDir} either: is that the state directory (FERRY_STATE_DIR) that this agent had before?`,
  );
}

/** Answers the destination's question. What we say binds us, because it is only said once it is decided. */
export async function answerDestination(
  agent: SourceAgent,
  request: AskRequest,
  signal: AbortSignal,
): Promise<AskResponse> {
  const { migrationId, domain, askerAddress } = request;
  const held = agent.migrations.find(migrationId);
  if (held !== undefined) {
    refuseForeignAgent(currentCaller(), held.state.peerHost, migrationId);
    held.state.destinationAddress ||= askerAddress;
  }
  const ended = agent.ongoing.find(migrationId);
  const remembered = held?.state.decision ?? (ended?.ended === true ? wordOf(ended.outcome) : undefined);
  const noted = await readUnlessDamaged(agent.journals.of(migrationId)).catch((error: unknown) => {
    if (remembered === undefined) throw error;
  });
  const journaled = noted === 'damaged' ? undefined : noted;
  const startedOn = held?.state.startedOn || journaled?.startedOn || '';
  if (startedOn !== '') return { answer: Answer.ANSWER_STARTED_ELSEWHERE, startedOn };
  const known = remembered ?? journaled?.decision;
  if (known !== undefined) return { answer: known === 'committed' ? Answer.ANSWER_COMMITTED : Answer.ANSWER_ABORTED };
  if (held !== undefined) {
    if (await hasEnded(agent, held, signal))
      return { answer: Answer.ANSWER_SOURCE_ENDED, voted: isSent(held), paused: !held.state.wasRunning };
    await bindIfSentAndGone(agent, held, signal);
  }
  // A guest that is here, and was not sent, is evidence enough, whatever an agent that was restarted still knows.
  const guest = await agent.hypervisor.guest(domain, signal).catch(() => undefined);
  const status = await guest?.monitor.execute('query-status', {}, signal);
  const here = guest?.incoming === undefined && status !== undefined && isHere(status.status);
  return { answer: here ? Answer.ANSWER_ABORTED : Answer.ANSWER_UNDECIDED };
}

/** A destination that asks may give its copy up next: the register must know by then that it is the only one. */
async function bindIfSentAndGone(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  if (!isSent(held)) return;
  if (held.state.doneWithRegister || held.state.destroyed) return;
  const guest = await guestIfAny(agent, held, signal);
  if (guest !== undefined && agent.hypervisor.isAlive(guest)) return;
  await bindIfLast(agent, held, signal);
}

const wordOf = (outcome: Outcome): 'committed' | 'aborted' =>
  outcome === Outcome.OUTCOME_COMPLETED ? 'committed' : 'aborted';

/** The guest runs on the destination: ends this copy. Its disks are inactive, so there is nothing to write back. */
export async function releaseGuest(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const guest = await guestIfAny(agent, held, signal);
  if (guest === undefined) {
    await agent.hypervisor.collect([held.ongoing.start.domainUuid]);
    return;
  }
  // QEMU says `completed` just before its figures are final, so they are asked for now.
  const patience = AbortSignal.any([signal, AbortSignal.timeout(figuresMs)]);
  const info = await guest.monitor.execute('query-migrate', {}, patience).catch(() => undefined);
  if (info !== undefined) held.ongoing.statistics = { ...held.ongoing.statistics, ...statisticsOf(info) };
  const { domainName } = held.ongoing.start;
  const ending = agent.hypervisor.end(guest, 'kill');
  await saidIfLong(
    agent.log,
    `the end of ${domainName}’s QEMU here (pid ${guest.process.pid})`,
    labelsOf(held),
    ending,
  );
}

/** The decision is 'aborted', or was never asked for: lets the guest run on here, if it ran before. Throws HandoverError owned-elsewhere. */
export async function resumeGuest(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const { monitor } = await guestOf(agent, held, signal);
  const { status } = await monitor.execute('query-status', {}, signal);
  if (status === 'finish-migrate') {
    const message = `QEMU has not ended the migration of domain ${held.ongoing.start.domainName} yet`;
    throw new MigrationError('migration-failed', message);
  }
  // In every other state the guest is here as it is: it runs, or has stopped by itself.
  if (status !== 'postmigrate' && status !== 'paused') return;
  // One that stays paused is claimed as well: no look sees it run, and the destination may be its owner by a commit that it did not act on.
  await claimSent(agent, held, signal);
  if (!held.state.wasRunning) return;
  await monitor.execute('cont', {}, signal);
  held.ongoing.resumedHereAtUs = nowUs();
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
