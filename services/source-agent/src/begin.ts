/** Source, v3 phase 1 of 5: takes the job, and gives what the destination needs to make a place for the guest. */
import { beginHandover, requestDigest } from '@ferry/agent';
import { encodeCookie, limitsOf } from '@ferry/migration';
import type { BeginRequest, BeginResponse } from '@ferry/proto/ferry/v1/source_agent';
import { guestOf, locate, look, originOf, type HeldOut, type SourceAgent } from './agent.ts';
import { beginCodec } from './begin-codec.ts';
import { departure, type Departure } from './departure.ts';

export async function begin(agent: SourceAgent, request: BeginRequest, signal: AbortSignal): Promise<BeginResponse> {
  limitsOf(request.options);
  const { migrationId } = request;
  const { domainUuid, domainName } = await locate(agent, request);
  const start = { migrationId, domainUuid, domainName, side: 'source', protocol: 3 } as const;

  const wish = { options: request.options, altered: request.domainXml };
  let leaving: Departure | undefined;

  const body = async (held: HeldOut, phaseSignal: AbortSignal): Promise<BeginResponse> => {
    const { wasRunning } = held.state;
    const guest = await guestOf(agent, held, phaseSignal);
    leaving ??= await departure(agent, domainUuid, wish, phaseSignal);
    const { domainXml, cookie } = leaving;
    const [offered] = await Promise.all([
      guest.monitor.execute('query-migrate-capabilities', {}, phaseSignal),
      beginHandover(agent.register, held, phaseSignal),
    ]);
    const capabilities = offered.map((c) => c.capability);
    const parts = { capabilities, paused: !wasRunning, ...cookie };
    const key = agent.runKeys.cookies({ migrationId, run: held.state.run });
    return { domainXml, cookieOut: Buffer.from(encodeCookie('begin3', originOf(agent, held), parts, Date.now(), key)) };
  };
  const make = async (callSignal: AbortSignal) => {
    const looked = await look(agent, start, callSignal);
    leaving = await departure(agent, domainUuid, wish, callSignal);
    return looked;
  };
  const asked = requestDigest({ domainUuid, options: request.options, domainXml: request.domainXml ?? '' });
  const codec = beginCodec(agent.runKeys.replies(migrationId), () => leaving?.hasPasswords === true);
  return agent.migrations.open(start, make, { phase: 'begin3', request: asked, codec, body }, signal);
}
