/** Source, v3 phase 5 of 5: ends this copy, or lets it run again when the destination has not taken over. */
import type { PhaseRun } from '@ferry/agent';
import { decodeCookie } from '@ferry/migration';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { ConfirmResponse, type ConfirmRequest } from '@ferry/proto/ferry/v1/source_agent';
import { type HeldOut, locate, type SourceAgent, type SourceState } from './agent.ts';
import { addDestStatistics, decide, releaseGuest, resumeGuest } from './decision.ts';

export async function confirm(
  agent: SourceAgent,
  request: ConfirmRequest,
  signal: AbortSignal,
): Promise<ConfirmResponse> {
  const { migrationId } = request;
  const { domainUuid } = await locate(agent, request);
  // Perform ends the job itself when it fails (libvirt's E5); a Confirm that comes nevertheless is told how it ended.
  const ended = agent.ongoing.find(migrationId);
  if (ended?.ended === true) return { outcome: ended.outcome, statistics: ended.statistics };

  let executed: HeldOut | undefined;
  const learn = async (held: HeldOut, callSignal: AbortSignal) => {
    executed = held;
    return endingBy(agent, await learnDecision(agent, held, request, callSignal));
  };
  const choice = {
    phases: ['confirm3', 'confirm3-cancelled'],
    codec: ConfirmResponse,
    learn,
  } as const;
  return agent.migrations.stepAfter(domainUuid, migrationId, choice, signal).catch((error: unknown) => {
    // The caller has done its part: the guest must not wait until it calls again.
    if (request.cancelled && executed !== undefined && agent.migrations.find(migrationId) === executed) {
      const cause = error instanceof Error ? error : new Error(String(error), { cause: error });
      void agent.migrations.giveUp(executed, cause);
    }
    throw error;
  });
}

/** The phase that follows from a decision. */
function endingBy(agent: SourceAgent, decision: 'committed' | 'aborted'): PhaseRun<SourceState, ConfirmResponse> {
  const committed = decision === 'committed';
  return {
    phase: committed ? 'confirm3' : 'confirm3-cancelled',
    codec: ConfirmResponse,
    outcome: () => (committed ? 'completed' : 'failed'),
    body: async (held, phaseSignal) => {
      await (committed ? releaseGuest : resumeGuest)(agent, held, phaseSignal);
      const outcome = committed ? Outcome.OUTCOME_COMPLETED : Outcome.OUTCOME_FAILED;
      return { outcome, statistics: held.ongoing.statistics };
    },
  };
}

/** What has been decided: by Finish's own word, or else by the register. A guest that was never sent needs no decision. */
async function learnDecision(
  agent: SourceAgent,
  held: HeldOut,
  request: ConfirmRequest,
  signal: AbortSignal,
): Promise<'committed' | 'aborted'> {
  const { cookieKey: key } = held.state;
  // A later life of the agent than the one that was given the key cannot tell who has made the cookie.
  if (request.cancelled || key === undefined) return decide(agent, held, signal);
  const { migrationId, domainUuid } = held.ongoing.start;
  const expected = {
    from: 'finish3',
    migrationId,
    domainUuid,
    run: held.state.run,
    hostUuid: agent.config.host.uuid,
    key,
  } as const;
  const cookie = decodeCookie(request.cookieIn, expected);
  addDestStatistics(held, cookie.statistics);
  held.state.decision ??= 'committed';
  return held.state.decision;
}
