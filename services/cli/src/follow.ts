/** Follows a migration's events to the end, also when the stream breaks on the way: the migration goes on without it. */
import { setTimeout as delay } from 'node:timers/promises';
import { call, isServiceError, stream } from '@ferry/rpc';
import { type MigrationEvent, Outcome } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import type { Agent } from './hosts.ts';

/** For how long the agent may be away (it restarts in about a second) before we say that we do not know. */
const awayMsMax = 20_000;
const lookEveryMs = 250;
const answerMs = 5_000;

/**
 * Yields the events of `first` and, should it break before the end, goes on with those of WatchMigration; none comes twice. What ended while nobody
 * could tell is asked for with GetMigration. Throws the ServiceError of `first` if it breaks before its first event, and the last error
 * when the agent stays away for 20 s.
 */
export async function* follow(
  first: AsyncIterable<{ readonly event: MigrationEvent | undefined }>,
  agent: Agent,
  names: { readonly migrationId: string; readonly domain: string },
  signal: AbortSignal,
): AsyncGenerator<MigrationEvent, void, undefined> {
  const seen = new Set<string>();
  let events = first;
  let brokenSinceMs: number | undefined;
  for (;;) {
    try {
      for await (const { event } of events) {
        if (event?.event === undefined) continue;
        brokenSinceMs = undefined;
        const key = keyOf(event);
        if (seen.has(key)) continue;
        seen.add(key);
        yield event;
        if (event.event.$case === 'ended') return;
      }
      // An agent that drains ends its streams in good order, without an end of the migration.
      brokenSinceMs ??= performance.now();
    } catch (error) {
      if (seen.size === 0 || !isServiceError(error)) throw error;
      brokenSinceMs ??= performance.now();
      if (performance.now() - brokenSinceMs > awayMsMax) throw error;
    }
    if (performance.now() - brokenSinceMs > awayMsMax) return;
    await delay(lookEveryMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    const ended = await endOf(agent, names, signal);
    if (ended !== undefined) {
      yield ended;
      return;
    }
    events = stream(agent.client, SourceAgentService.watchMigration, names, signal);
  }
}

/** The end as the agent's record has it; undefined while it goes on, or nobody answers. */
async function endOf(
  agent: Agent,
  names: { readonly migrationId: string; readonly domain: string },
  signal: AbortSignal,
): Promise<MigrationEvent | undefined> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
  const answer = await call(agent.client, SourceAgentService.getMigration, names, patience).catch(() => undefined);
  signal.throwIfAborted();
  const { migration } = answer ?? {};
  if (migration === undefined || migration.active || migration.outcome === Outcome.OUTCOME_UNSPECIFIED)
    return undefined;
  const { outcome, failure, statistics } = migration;
  return { at: new Date(), event: { $case: 'ended', value: { outcome, failure, statistics } } };
}

/** Events have no number; time and content tell them apart. */
function keyOf({ at, event }: MigrationEvent): string {
  return JSON.stringify([at?.getTime(), event], (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  );
}
