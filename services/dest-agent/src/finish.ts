/** Destination, v3 phase 4 of 5 and v2 phase 4 of 4: lets the guest run here, or ends the waiting QEMU. */
import { domainStateOf, handoverOf, type Held, currentCaller, refuseForeignAgent, speaksFor } from '@ferry/agent';
import { decodeCookie, encodeCookie, MigrationError } from '@ferry/migration';
import { FinishResponse, type FinishRequest } from '@ferry/proto/ferry/v1/dest_agent';
import { type Domain, DomainState } from '@ferry/proto/ferry/v1/domains';
import { MigrationStatistics, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { FailureError } from '@ferry/rpc';
import { journal, locate, originOf, type DestAgent, type DestState, type HeldIn } from './agent.ts';
import type { Incoming } from './incoming.ts';
import { recover } from './recover.ts';
import { giveGuest, startGuest } from './start.ts';

/** What is committed is carried through, whoever hangs up; this bounds it. */
const committedMs = 20_000;

export async function finish(agent: DestAgent, request: FinishRequest, signal: AbortSignal): Promise<FinishResponse> {
  const { migrationId, cancelled } = request;
  const domainUuid = await locate(agent, request);
  const phase = request.protocol === Protocol.PROTOCOL_V2 ? 'finish2' : 'finish3';
  const ended = agent.ongoing.find(migrationId);
  if (ended?.ended === true && ended.outcome !== Outcome.OUTCOME_COMPLETED) {
    // QEMU died before, or somebody gave up: what a cancelled Finish wants is so already.
    if (cancelled) return noDomain;
    if (ended.failure !== undefined) throw new FailureError(ended.failure);
  }
  refuseForeignAgent(currentCaller(), agent.migrations.find(migrationId)?.state.peerHost ?? '', migrationId);
  const body = (held: HeldIn, phaseSignal: AbortSignal): Promise<FinishResponse> =>
    (cancelled ? dropGuest(agent, held) : takeOver(agent, held, request, phaseSignal)).finally(() =>
      agent.gate.open(migrationId),
    );
  const outcome = (response: FinishResponse) => (response.domain === undefined ? 'failed' : 'completed');
  return agent.migrations.step(
    domainUuid,
    migrationId,
    { phase, inBlackout: true, codec: FinishResponse, body, outcome },
    signal,
  );
}

const noDomain: FinishResponse = { domain: undefined, cookieOut: Buffer.alloc(0), statistics: undefined };

/** The caller says that Perform failed. If the guest was committed nevertheless it runs here, and the caller is told so (E13). */
async function dropGuest(agent: DestAgent, held: HeldIn): Promise<FinishResponse> {
  const outcome = await recover(agent, held, AbortSignal.timeout(committedMs));
  return outcome === 'completed' ? { ...noDomain, domain: domainOf(held) } : noDomain;
}

/** The blackout is on: one script and one command stand between the guest and its CPUs. */
async function takeOver(
  agent: DestAgent,
  held: HeldIn,
  request: FinishRequest,
  signal: AbortSignal,
): Promise<FinishResponse> {
  const { state, ongoing } = held;
  const { migrationId } = ongoing.start;
  const { guest, incoming } = state;
  if (guest === undefined || incoming === undefined)
    throw new MigrationError('incoming-failed', 'there is no waiting QEMU');
  const carried = state.protocol === 3 ? voteOf(agent, held, request) : undefined;
  state.incarnation = carried?.incarnation ?? state.incarnation;
  state.voteSeen ||= carried !== undefined;

  const loadedAtUs = await loadedWhole(agent, held, incoming, signal);
  agent.gate.close(migrationId, 'connections');
  state.runState = await incoming.runState;
  // One that its user has paused is loaded as one that ran: only the vote tells.
  state.paused = !(carried?.ran ?? !state.paused);
  if (!startsHere(state)) await journal(agent, held);
  // One that has ended since must not be committed: the source would end its copy, the only one. The monitor's end may not be read yet.
  if (guest.monitor.closed.aborted || !agent.hypervisor.isAlive(guest)) await incoming.failed;
  signal.throwIfAborted();
  const register = { ...handoverOf(held), carried };
  refusePromised(held);
  state.mayHaveCommitted = true;
  const { decision, grant, ran } = await agent.register.commit(register, signal);
  if (decision === 'aborted') {
    throw new MigrationError(
      'not-migrating',
      `the source has taken domain ${ongoing.start.domainName} back: the guest runs there`,
    );
  }
  // The gate: between the script and its answer the source may have asked, and has our promise then.
  refusePromised(held);
  state.decision = 'committed';
  state.grant = grant;
  state.paused = !(ran ?? !state.paused);
  const starts = startsHere(state);
  const committed = AbortSignal.timeout(committedMs);
  const resumedAtUs = starts ? await startGuest(agent, held, committed) : 0;
  if (!starts) await giveGuest(agent, held, committed);

  // The guest runs. What follows could wait.
  agent.gate.open(migrationId);
  const statistics = MigrationStatistics.fromPartial({
    resumedAtUs: BigInt(resumedAtUs),
    controlDestUs: BigInt(starts ? resumedAtUs - loadedAtUs : 0),
  });
  ongoing.statistics = statistics;
  if (starts) ongoing.switchover('dest', resumedAtUs);
  state.releasePort();
  await agent.hypervisor.settle(guest);
  // The caller does not wait for it.
  void agent.hypervisor.forgetEncryption(guest);
  const cookieOut =
    state.protocol === 3
      ? encodeCookie(
          'finish3',
          originOf(agent, held),
          { statistics },
          Date.now(),
          agent.runKeys.cookies({ migrationId, run: state.run }),
        )
      : [];
  return { domain: domainOf(held), cookieOut: Buffer.from(cookieOut), statistics };
}

/** A guest that is flowing in is waited for; one that nobody has begun to send, no longer than for any other call that does not come. */
async function loadedWhole(agent: DestAgent, held: HeldIn, incoming: Incoming, signal: AbortSignal): Promise<number> {
  const idle = AbortSignal.timeout(agent.config.idleMs);
  try {
    return await incoming.loaded(AbortSignal.any([signal, idle]));
  } catch (error) {
    if (!idle.aborted || signal.aborted) throw error;
    if (incoming.status !== 'none' && incoming.status !== 'setup') return incoming.loaded(signal);
    const { domainName } = held.ongoing.start;
    throw new MigrationError(
      'abandoned',
      `nobody sent domain ${domainName} for ${agent.config.idleMs / 1000} s: call Finish after Perform`,
    );
  }
}

/** What has been promised to the source binds this side, whatever the register would say. */
function refusePromised({ state, ongoing }: HeldIn): void {
  if (!state.promised.has(state.incarnation)) return;
  throw new MigrationError('not-migrating', `domain ${ongoing.start.domainName} was promised to stay on the source`);
}

/** The source's vote: the life of the register that it is for, and whether the guest ran. */
function voteOf(agent: DestAgent, held: HeldIn, request: FinishRequest): { incarnation: string; ran: boolean } {
  const { migrationId, domainUuid } = held.ongoing.start;
  const { run, peerHost } = held.state;
  // The source’s agent may say it itself, and need not prove it.
  const key = speaksFor(currentCaller(), peerHost) ? undefined : agent.runKeys.cookies({ migrationId, run });
  const expected = { from: 'perform3', migrationId, domainUuid, run, hostUuid: agent.config.host.uuid, key } as const;
  const cookie = decodeCookie(request.cookieIn, expected);
  if (cookie.vote === undefined)
    throw new MigrationError('cookie-damaged', 'Perform’s cookie carries no vote of the source');
  return { incarnation: cookie.vote.incarnation, ran: !cookie.paused };
}

/** The guest ran until it was stopped for the switchover, and `cont` is for it: QEMU has loaded it as `paused`. */
const startsHere = ({ paused, runState }: DestState): boolean => !paused && (runState ?? 'paused') === 'paused';

function domainOf(held: Held<DestState>): Domain {
  const { domainUuid, domainName } = held.ongoing.start;
  const { guest, runState } = held.state;
  return {
    uuid: domainUuid,
    name: domainName,
    state: startsHere(held.state) ? DomainState.DOMAIN_STATE_RUNNING : domainStateOf(runState ?? 'paused'),
    qemuPid: guest?.process.pid ?? 0,
    memoryBytes: 0n,
    vcpus: 0,
    job: '',
    migrationId: '',
    jobUnknown: '',
  };
}
