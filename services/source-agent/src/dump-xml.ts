/** Source, v2 phase 1 of 4: the document for Prepare. Takes no job, as in libvirt. */
import { hasPasswords } from '@ferry/domain-xml';
import { MigrationError } from '@ferry/migration';
import type { DumpXmlRequest, DumpXmlResponse } from '@ferry/proto/ferry/v1/source_agent';
import { locate, look, type SourceAgent } from './agent.ts';
import { asItRuns } from './as-it-runs.ts';
import { refuseUnsafe } from './safety.ts';

const needsCookie = (name: string): string =>
  `a display of domain ${name} has a password, which only a cookie may carry, and version 2 has none: migrate with version 3, or start it without`;

export async function dumpXml(
  agent: SourceAgent,
  request: DumpXmlRequest,
  signal: AbortSignal,
): Promise<DumpXmlResponse> {
  const { domainUuid } = await locate(agent, request);
  const { state } = await look(agent, { migrationId: request.migrationId, domainUuid, protocol: 2 }, signal);
  const { domain, domainXml } = await asItRuns(agent, domainUuid, signal);
  if (hasPasswords(domain)) throw new MigrationError('migration-blocked', needsCookie(domain.name));
  await refuseUnsafe(agent, domain, request.options, signal);
  return { domainXml, paused: !state.wasRunning };
}
