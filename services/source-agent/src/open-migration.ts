import type { SourceAgent } from './agent.ts';

/**
 * Why a guest that was sent may not go on by its user's wish: a migration of the domain is not settled here yet, whatever Redis still knows of it, or
 * may not be, since a journal that could be the domain's cannot be read. Undefined if there is nothing of that kind.
 */
export async function openMigration(
  agent: SourceAgent,
  domain: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const held = agent.migrations.all().find(({ ongoing }) => ongoing.start.domainUuid === domain);
  if (held !== undefined) return `migration ${held.ongoing.start.migrationId} of it is not settled yet`;
  const { entries, unknown } = await agent.journals.unfinished();
  const entry = entries.find((each) => each.domain === domain);
  if (entry !== undefined) return `migration ${entry.migrationId} of it is not settled yet`;
  for (const { migrationId, error } of unknown) {
    // That it has ended is known from Redis, too.
    const record = await agent.jobs.recordOf(domain, migrationId, signal).catch(() => undefined);
    if (record?.outcome === undefined) return `migration ${migrationId} may be of it: ${error.message}`;
  }
  return undefined;
}
