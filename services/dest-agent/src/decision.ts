/** What the destination decides, or learns, when it does not simply commit; and what it answers the source. */
import { handoverOf, labelsOf, saidIfLong, currentCaller, refuseForeignAgent } from '@ferry/agent';
import { HandoverError, readUnlessDamaged } from '@ferry/handover';
import { MigrationError } from '@ferry/migration';
import { Answer, type AskRequest, type AskResponse, Outcome } from '@ferry/proto/ferry/v1/migration';
import { isHere, type RunState } from '@ferry/qemu-qmp';
import { type DestAgent, type DestState, type HeldIn, journal, wasNeverTold } from './agent.ts';
import { recall } from './recall.ts';

/**
 * Gives the migration up in the register, unless it was committed there. Throws HandoverError, or why the source could not be asked: then
 * nothing is known, and the copy stays paused.
 */
export async function decide(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<'committed' | 'aborted'> {
  await recall(agent, held, signal);
  const { state } = held;
  // Who has promised never to commit under a life of the register does not ask that life, whatever it would say.
  if (state.promised.has(state.incarnation)) state.doneWithRegister = true;
  if (state.decision === undefined) {
    const ask = state.doneWithRegister ? askSource : askRegister;
    const learned = onlyCopy(state) ?? (await askBeforeAbort(agent, held, signal)) ?? (await ask(agent, held, signal));
    state.decision ??= learned;
  }
  return state.decision;
}

/** The source has voted and its copy has ended: whatever the register would say, nobody else has the guest. */
const onlyCopy = ({ sourceEnded, voteSeen }: DestState): 'committed' | undefined =>
  sourceEnded && voteSeen ? 'committed' : undefined;

/**
 * A whole copy may be the only one: before it is given up in a register that has not decided, the source is asked. One that has not decided is there,
 * and has bound the register if its copy has ended. Throws why it could not be asked: the copy is kept.
 */
async function askBeforeAbort(
  agent: DestAgent,
  held: HeldIn,
  signal: AbortSignal,
): Promise<'committed' | 'aborted' | undefined> {
  const { migrationId, domainUuid: domain } = held.ongoing.start;
  const { whole, doneWithRegister, grant, sourceAddress, run } = held.state;
  if (!whole || doneWithRegister || grant !== undefined || sourceAddress === '') return undefined;
  // A register that does not answer now may answer the abort: the source is asked before that all the same.
  const known = await agent.register.look({ domain, migrationId, run }, signal).catch(() => undefined);
  if (known?.decision === 'committed' || known?.decision === 'aborted') return undefined;
  // In version 2 the vote is in the register: the source has stopped the guest for good, so that this copy is no older than its disks.
  if (known?.decision === 'undecided') held.state.voteSeen ||= known.incarnation === held.state.incarnation;
  return askSource(agent, held, signal).catch((error: unknown) => {
    if (error instanceof MigrationError && error.kind === 'other-undecided') return undefined;
    throw error;
  });
}

async function askRegister(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<'committed' | 'aborted'> {
  const { incarnation, grant } = held.state;
  const r = handoverOf(held);
  try {
    const ask =
      grant !== undefined ? agent.register.withdraw({ ...r, grant }, signal) : agent.register.abort(r, signal);
    const verdict = await ask;
    if (verdict.decision === 'aborted') return 'aborted';
    // The gate, as in Finish: while the register was asked the source may have asked us, and has our promise then.
    if (held.state.promised.has(incarnation)) {
      held.state.doneWithRegister = true;
      return askSource(agent, held, signal);
    }
    held.state.grant = verdict.grant;
    if (verdict.ran !== undefined) held.state.paused = !verdict.ran;
    return 'committed';
  } catch (error) {
    if (!(error instanceof HandoverError)) throw error;
    if (error.kind === 'register-changed') {
      held.state.doneWithRegister = true;
      await agent.migrations.assertNow(held);
    } else if (!answersNothing(error) || held.state.sourceAddress === '') throw error;
    // What the source has decided it has decided for good; asking binds nobody.
    return askSource(agent, held, signal);
  }
}

/** Redis stays away, or refuses the script: what has been decided it does not say. */
const answersNothing = ({ kind }: HandoverError): boolean =>
  kind === 'register-unavailable' || kind === 'register-reply';

/** A guest that ran is loaded as `paused`: any other state is one that it has come into here, or that it was sent in. */
const hasLeftLoading = (status: RunState): boolean => isHere(status) && status !== 'paused' && status !== 'prelaunch';

/** What Finish brought is needed by whoever has to decide once the source is gone: it is written down, but not inside the blackout. */
async function noteVote(agent: DestAgent, held: HeldIn): Promise<void> {
  if (!held.state.voteSeen) return;
  const noted = await readUnlessDamaged(agent.journals.of(held.ongoing.start.migrationId));
  if (noted === 'damaged' || noted?.voteSeen !== true) await journal(agent, held);
}

/** The source says what it knows. It is asked by us, or asks us itself and has our promise: it then resumes its copy and says so. */
async function askSource(agent: DestAgent, held: HeldIn, signal: AbortSignal): Promise<'committed' | 'aborted'> {
  const { migrationId, domainUuid: domain, domainName } = held.ongoing.start;
  const { sourceAddress, incarnation } = held.state;
  if (sourceAddress === '') {
    throw new MigrationError(
      'in-doubt',
      `the register has forgotten the migration of ${domainName}, and its source is not known yet`,
    );
  }
  await noteVote(agent, held);
  const question = { migrationId, domain, incarnation, askerAddress: agent.config.address };
  const asking = agent.sourceAt(sourceAddress).ask(question, signal);
  const what = `the agent at ${sourceAddress}, which is asked how it was decided`;
  const reply = await saidIfLong(agent.log, what, labelsOf(held), asking);
  const { answer, startedOn } = reply;
  if (answer === Answer.ANSWER_COMMITTED) return 'committed';
  if (answer === Answer.ANSWER_ABORTED) return 'aborted';
  if (answer === Answer.ANSWER_STARTED_ELSEWHERE) held.state.startedOn = startedOn ?? '';
  if (answer === Answer.ANSWER_SOURCE_ENDED) return decideAlone(agent, held, reply);
  throw new MigrationError('other-undecided', `the source of ${domainName} has not decided yet: it will ask us`);
}

/** The source never continues; what it says of its vote counts as the vote. */
function noteEnded(state: DestState, { voted, paused }: Pick<AskRequest, 'voted' | 'paused'>): void {
  state.sourceEnded = true;
  if (voted !== true) return;
  state.voteSeen = true;
  state.paused = paused === true;
}

/**
 * The source's copy has ended. The vote says that the guest did not run on there after it was sent (P104); where neither agent has it, a whole copy
 * here may be older than the disks: throws MigrationError in-doubt.
 */
async function decideAlone(agent: DestAgent, held: HeldIn, reply: AskResponse): Promise<'committed' | 'aborted'> {
  const { state, ongoing } = held;
  noteEnded(state, reply);
  const { guest } = state;
  if (state.voteSeen) return 'committed';
  if (guest === undefined || guest.monitor.closed.aborted || !agent.hypervisor.isAlive(guest)) return 'aborted';
  const { domainName } = ongoing.start;
  throw new MigrationError(
    'in-doubt',
    `the source’s copy of ${domainName} has ended, and neither agent knows whether the guest ran on there after it was sent: its copy here may be older than its disks`,
  );
}

/** A journal that is not read, or lost, may say that a guest was committed that its user had paused, and which shows nobody. */
const isForgetful = ({ recalled, paused }: DestState): boolean =>
  recalled === 'unread' || recalled === 'unreadable' || (recalled === 'lost' && paused);

/** A source whose copy has ended needs no pledge, and this side's copy is whole: it goes on with the guest if it knows that the source has voted. */
function leftAlone(agent: DestAgent, held: HeldIn, request: AskRequest): AskResponse {
  const { state, ongoing } = held;
  noteEnded(state, request);
  if (state.voteSeen) {
    const { migrationId, domainName } = ongoing.start;
    const cause = new MigrationError('abandoned', `the source’s copy of ${domainName} has ended: the one here goes on`);
    agent.migrations
      .giveUp(held, cause)
      .catch((error: unknown) => agent.log.error({ err: error, migrationId }, 'could not go on'));
  }
  return { answer: Answer.ANSWER_UNDECIDED };
}

/** Answers the source's question. A guest that is not decided yet is promised not to be committed under that life of the register. */
export async function answerSource(agent: DestAgent, request: AskRequest, signal: AbortSignal): Promise<AskResponse> {
  const { migrationId, domain, incarnation, askerAddress } = request;
  const held = agent.migrations.find(migrationId);
  if (held !== undefined) {
    const { state } = held;
    refuseForeignAgent(currentCaller(), state.peerHost, migrationId);
    state.sourceAddress ||= askerAddress;
    const { startedOn } = state;
    if (startedOn !== '') return { answer: Answer.ANSWER_STARTED_ELSEWHERE, startedOn };
    if (state.decision === 'aborted') return { answer: Answer.ANSWER_ABORTED };
    // A QEMU that runs is committed, whatever this agent's life before had time to write down. One that does not answer promises nothing.
    const gone = state.guest === undefined || !agent.hypervisor.isAlive(state.guest);
    const status = gone ? undefined : await state.guest?.monitor.execute('query-status', {}, signal);
    if (status?.status === 'running') return { answer: Answer.ANSWER_COMMITTED };
    if (state.decision === 'committed') {
      // Until it runs, or is given to its user, QEMU may refuse or end, and the commit be withdrawn: nobody is to end another copy for this answer.
      const mayBeGiven = state.paused && state.revived;
      const waits = !mayBeGiven && !state.started && status?.status === 'paused';
      const mayStillRefuse = waits || (gone && wasNeverTold(state));
      return { answer: mayStillRefuse ? Answer.ANSWER_UNDECIDED : Answer.ANSWER_COMMITTED };
    }
    if (request.copyEnded === true && !gone && status?.status !== 'inmigrate') return leftAlone(agent, held, request);
    // The guest may have gone on here, and ended with its host or stopped, before anybody wrote that down: then the source's copy is old.
    const mayHaveRun =
      request.copyEnded !== true && (gone || (!state.paused && status !== undefined && hasLeftLoading(status.status)));
    if (mayHaveRun && state.revived && state.mayHaveCommitted) return { answer: Answer.ANSWER_UNDECIDED };
    if (isForgetful(state)) return { answer: Answer.ANSWER_UNDECIDED };
    state.promised.add(incarnation);
    // A source whose journal is lost may not know the one that it voted under, which this side follows.
    state.promised.add(state.incarnation);
    // A promise that a crash could undo is none.
    await journal(agent, held);
    return { answer: state.decision === 'committed' ? Answer.ANSWER_COMMITTED : Answer.ANSWER_PROMISED };
  }
  const noted = await readUnlessDamaged(agent.journals.of(migrationId));
  const startedOn = noted === 'damaged' ? '' : (noted?.startedOn ?? '');
  if (startedOn !== '') return { answer: Answer.ANSWER_STARTED_ELSEWHERE, startedOn };
  if (noted !== 'damaged' && noted?.decision !== undefined) {
    return { answer: noted.decision === 'committed' ? Answer.ANSWER_COMMITTED : Answer.ANSWER_ABORTED };
  }
  const ended = agent.ongoing.find(migrationId);
  if (ended?.ended === true) {
    const completed = ended.outcome === Outcome.OUTCOME_COMPLETED;
    return { answer: completed ? Answer.ANSWER_COMMITTED : Answer.ANSWER_ABORTED };
  }
  const guest = await agent.hypervisor.guest(domain, signal).catch(() => undefined);
  const status = await guest?.monitor.execute('query-status', {}, signal);
  const settled = guest?.incoming === undefined && status !== undefined && isHere(status.status);
  const committed = settled || status?.status === 'running';
  return { answer: committed ? Answer.ANSWER_COMMITTED : Answer.ANSWER_UNDECIDED };
}
