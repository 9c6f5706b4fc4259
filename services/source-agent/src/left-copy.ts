/** A copy that was sent, and that the agent which settled its migration could not see: it ran with another state directory. */
import type { HandoverEntry } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import type { SourceAgent } from './agent.ts';

/**
 * Ends the copy of a migration that is recorded as completed, if it is still here as it was sent, and nothing else explains it: another host owns
 * the guest, and no other migration of it is open here. Throws what Redis, QEMU or the journals cannot say.
 */
export async function endLeftCopy(agent: SourceAgent, noted: HandoverEntry, signal: AbortSignal): Promise<void> {
  const { domain, migrationId } = noted;
  const guest = await agent.hypervisor.guest(domain, signal).catch((error: unknown) => {
    if (!(error instanceof HypervisorError) || error.kind !== 'domain-not-found') throw error;
  });
  if (guest === undefined || guest.incoming !== undefined) return;
  const { status } = await guest.monitor.execute('query-status', {}, signal);
  // One that came back, or was sent again, has left this state or has a journal of its own.
  if (status !== 'postmigrate' || (await isOfAnother(agent, noted))) return;
  const owner = await agent.owners.of(domain, signal);
  if (owner === undefined || owner.host === '' || owner.host === agent.config.host.name) return;
  await agent.hypervisor.end(guest, 'kill');
  agent.log.info({ migrationId, domain, owner: owner.host }, 'a copy that was left of a completed migration is ended');
}

async function isOfAnother(agent: SourceAgent, { domain, migrationId }: HandoverEntry): Promise<boolean> {
  const isOther = (one: { readonly domain: string; readonly migrationId: string }): boolean =>
    one.domain === domain && one.migrationId !== migrationId;
  const held = agent.migrations.all().map(({ ongoing: { start } }) => ({ ...start, domain: start.domainUuid }));
  return held.some(isOther) || (await agent.journals.unfinished()).entries.some(isOther);
}
