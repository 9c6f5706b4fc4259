/** Source, v3 phase 3 of 5 and v2 phase 3 of 4: sends the guest. It is paused when the answer comes, and stays so until a decision. */
import {
  decodeCookie,
  encodeCookie,
  formatMigrationUri,
  limitsOf,
  MigrationError,
  parseMigrationUri,
} from '@ferry/migration';
import { type MigrationStatistics, Protocol } from '@ferry/proto/ferry/v1/migration';
import { PerformResponse, type PerformRequest } from '@ferry/proto/ferry/v1/source_agent';
import { guestOf, journal, locate, look, originOf, type HeldOut, type SourceAgent } from './agent.ts';
import { awaitDecision } from './await-decision.ts';
import { configureOutgoing, sendGuest, type SwitchoverTimes } from './outgoing.ts';

export function perform(agent: SourceAgent, request: PerformRequest, signal: AbortSignal): Promise<PerformResponse> {
  return request.protocol === Protocol.PROTOCOL_V2
    ? perform2(agent, request, signal)
    : perform3(agent, request, signal);
}

async function perform3(agent: SourceAgent, request: PerformRequest, signal: AbortSignal): Promise<PerformResponse> {
  const { migrationId } = request;
  const { domainUuid } = await locate(agent, request);

  const body = async (held: HeldOut, phaseSignal: AbortSignal): Promise<PerformResponse> => {
    const expected = { from: 'prepare', migrationId, domainUuid, hostUuid: agent.config.host.uuid } as const;
    const cookie = decodeCookie(request.cookieIn, expected);
    held.ongoing.peer = cookie.hostName;
    held.state.destinationAddress = cookie.agentAddress;
    // Made while QEMU still sends the guest's devices, and told when it says `completed`: until then there is no vote.
    let response = answer(agent, held);
    await send(agent, held, request, phaseSignal, () => {
      response = answer(agent, held);
    });
    held.state.voted = true;
    return response;
  };
  return agent.migrations.step(
    domainUuid,
    migrationId,
    { phase: 'perform3', doneAs: 'perform3-done', codec: PerformResponse, body },
    signal,
  );
}

/** Perform's answer. The vote travels in the cookie; the destination's commit writes it into the register on our behalf. */
function answer(agent: SourceAgent, { ongoing, state }: HeldOut): PerformResponse {
  const { statistics } = ongoing;
  const parts = { vote: { incarnation: state.incarnation }, statistics, paused: !state.wasRunning };
  return {
    cookieOut: Buffer.from(encodeCookie('perform3', originOf(agent, ongoing.start), parts, Date.now())),
    statistics,
  };
}

async function perform2(agent: SourceAgent, request: PerformRequest, signal: AbortSignal): Promise<PerformResponse> {
  const { migrationId } = request;
  const { domainUuid, domainName } = await locate(agent, request);
  const start = { migrationId, domainUuid, domainName, side: 'source', protocol: 2 } as const;

  const body = async (held: HeldOut, phaseSignal: AbortSignal): Promise<PerformResponse> => {
    const { incarnation } = held.state;
    await agent.register.begin(
      { domain: domainUuid, migrationId, source: agent.config.host.name, incarnation },
      phaseSignal,
    );
    await send(agent, held, request, phaseSignal, () => undefined);
    // v2 has no cookies, so the vote must be in the register before the caller may call Finish.
    held.state.voted = true;
    await agent.register.vote({ domain: domainUuid, migrationId, incarnation }, phaseSignal);
    return { cookieOut: Buffer.alloc(0), statistics: held.ongoing.statistics };
  };
  const make = (callSignal: AbortSignal) => look(agent, domainUuid, 2, callSignal);
  const run = { phase: 'perform2', doneAs: 'perform2-done', codec: PerformResponse, body } as const;
  const response = await agent.migrations.open(start, make, run, signal);
  awaitDecision(agent, migrationId);
  return response;
}

/** Sends the guest's memory and state; `almostThere` is called when all figures of the switchover are known. */
async function send(
  agent: SourceAgent,
  held: HeldOut,
  request: PerformRequest,
  signal: AbortSignal,
  almostThere: () => void,
): Promise<void> {
  const uri = parseMigrationUri(request.migrationUri);
  if (uri.kind === 'tcp' && uri.port === undefined) {
    const message = `migration URI ${request.migrationUri} has no port: pass on what Prepare returned`;
    throw new MigrationError('invalid-uri', message);
  }
  const limits = limitsOf(request.options);
  const { ongoing } = held;
  const { monitor } = await guestOf(agent, held, signal);
  // The vote is given when QEMU says `completed`; that it may be given is durable before the guest is stopped.
  await Promise.all([configureOutgoing(monitor, limits, signal), journal(agent, held)]);
  const report = {
    progress: (status: string, figures: Partial<MigrationStatistics>) =>
      ongoing.progress(status, { ...ongoing.statistics, ...figures }),
    stopped: (atUs: number) => ongoing.switchover('source', atUs),
    almostThere: ({ stoppedAtUs, continuedAtUs }: SwitchoverTimes) => {
      if (stoppedAtUs !== undefined && continuedAtUs !== undefined) {
        const controlSourceUs = BigInt(continuedAtUs - stoppedAtUs);
        ongoing.statistics = { ...ongoing.statistics, stoppedAtUs: BigInt(stoppedAtUs), controlSourceUs };
      }
      almostThere();
    },
  };
  await sendGuest(monitor, formatMigrationUri(uri), report, signal);
}
