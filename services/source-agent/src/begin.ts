/** Source, v3 phase 1 of 5: takes the job, and gives what the destination needs to make a place for the guest. */
import { encodeCookie, limitsOf } from '@ferry/migration';
import { BeginResponse, type BeginRequest } from '@ferry/proto/ferry/v1/source_agent';
import { guestOf, locate, look, originOf, type HeldOut, type SourceAgent } from './agent.ts';

export async function begin(agent: SourceAgent, request: BeginRequest, signal: AbortSignal): Promise<BeginResponse> {
  limitsOf(request.options);
  const { migrationId } = request;
  const { domainUuid, domainName } = await locate(agent, request);
  const start = { migrationId, domainUuid, domainName, side: 'source', protocol: 3 } as const;

  const body = async (held: HeldOut, phaseSignal: AbortSignal): Promise<BeginResponse> => {
    const { wasRunning, incarnation } = held.state;
    const guest = await guestOf(agent, held, phaseSignal);
    const [domainXml, offered] = await Promise.all([
      agent.hypervisor.xmlOf(domainUuid),
      guest.monitor.execute('query-migrate-capabilities', {}, phaseSignal),
      agent.register.begin(
        { domain: domainUuid, migrationId, source: agent.config.host.name, incarnation },
        phaseSignal,
      ),
    ]);
    const parts = { capabilities: offered.map((c) => c.capability), paused: !wasRunning };
    return { domainXml, cookieOut: Buffer.from(encodeCookie('begin3', originOf(agent, start), parts, Date.now())) };
  };
  const make = (callSignal: AbortSignal) => look(agent, domainUuid, 3, callSignal);
  return agent.migrations.open(start, make, { phase: 'begin3', codec: BeginResponse, body }, signal);
}
