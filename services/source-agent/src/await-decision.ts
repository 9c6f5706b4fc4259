/** v2 callers call Finish and are done: the source learns from the register whether the destination took over, and acts by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@ferry/migration';
import type { SourceAgent } from './agent.ts';

const lookEveryMs = 25;

/** Watches the register until there is a decision, then ends this copy or lets it run. Ends at the latest when the migration is abandoned. */
export function awaitDecision(agent: SourceAgent, migrationId: string): void {
  watch(agent, migrationId).catch((error: unknown) => {
    agent.log.error(
      { err: error, migrationId },
      'the register cannot be watched; the migration is settled when it is abandoned',
    );
  });
}

async function watch(agent: SourceAgent, migrationId: string): Promise<void> {
  for (;;) {
    const held = agent.migrations.find(migrationId);
    // Somebody else has settled it: peer to peer, an abort, or its time was up.
    if (held === undefined || held.unsettled !== undefined) return;
    const { domainUuid: domain, domainName } = held.ongoing.start;
    const { decision } = await agent.register.look({ domain, migrationId }, held.job.signal);
    if (decision === 'committed' || decision === 'aborted') {
      const cause = new MigrationError(
        'destination-refused',
        `the destination has given up domain ${domainName}: its agent’s log says why`,
      );
      return agent.migrations.giveUp(held, cause);
    }
    await delay(lookEveryMs, undefined, { signal: held.job.signal });
  }
}
