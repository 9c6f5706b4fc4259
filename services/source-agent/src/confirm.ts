/** Source, v3 phase 5 of 5: ends this copy, or lets it run again when the destination has not taken over. */
import { decodeCookie } from '@ferry/migration';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { ConfirmResponse, type ConfirmRequest } from '@ferry/proto/ferry/v1/source_agent';
import { type HeldOut, locate, type OutcomeWord, type SourceAgent } from './agent.ts';
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

  const held = agent.migrations.find(migrationId);
  const settling = held === undefined || held.executing || held.unsettled !== undefined;
  const decision = settling ? 'committed' : await learn(agent, held, request, signal);
  const body = async (now: HeldOut, phaseSignal: AbortSignal): Promise<ConfirmResponse> => {
    if (decision === 'committed') await releaseGuest(agent, now, phaseSignal);
    else await resumeGuest(agent, now, phaseSignal);
    const result = decision === 'committed' ? Outcome.OUTCOME_COMPLETED : Outcome.OUTCOME_FAILED;
    return { outcome: result, statistics: now.ongoing.statistics };
  };
  const phase = decision === 'committed' ? 'confirm3' : 'confirm3-cancelled';
  const outcome = (): OutcomeWord => (decision === 'committed' ? 'completed' : 'failed');
  return agent.migrations.step(domainUuid, migrationId, { phase, outcome, codec: ConfirmResponse, body }, signal);
}

/** What has been decided: by Finish's own word, or else by the register. A guest that was never sent needs no decision. */
async function learn(
  agent: SourceAgent,
  held: HeldOut,
  request: ConfirmRequest,
  signal: AbortSignal,
): Promise<'committed' | 'aborted'> {
  if (request.cancelled) {
    return decide(agent, held, signal).catch((error: unknown) => {
      // The caller has done its part: the guest must not wait until it calls again.
      const cause = error instanceof Error ? error : new Error(String(error), { cause: error });
      void agent.migrations.giveUp(held, cause);
      throw error;
    });
  }
  const { migrationId, domainUuid } = held.ongoing.start;
  const expected = { from: 'finish3', migrationId, domainUuid, hostUuid: agent.config.host.uuid } as const;
  const cookie = decodeCookie(request.cookieIn, expected);
  addDestStatistics(held, cookie.statistics);
  held.state.decision ??= 'committed';
  return held.state.decision;
}
