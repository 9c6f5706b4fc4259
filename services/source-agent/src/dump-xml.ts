/** Source, v2 phase 1 of 4: the document for Prepare. Takes no job, as in libvirt. */
import type { DumpXmlRequest, DumpXmlResponse } from '@ferry/proto/ferry/v1/source_agent';
import { locate, look, type SourceAgent } from './agent.ts';
import { refuseUnsafe } from './safety.ts';

export async function dumpXml(
  agent: SourceAgent,
  request: DumpXmlRequest,
  signal: AbortSignal,
): Promise<DumpXmlResponse> {
  const { domainUuid } = await locate(agent, request);
  const { state } = await look(agent, domainUuid, 2, signal);
  await refuseUnsafe(agent, await agent.hypervisor.domainOf(domainUuid), request.options, signal);
  return { domainXml: await agent.hypervisor.xmlOf(domainUuid), paused: !state.wasRunning };
}
