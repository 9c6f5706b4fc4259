/** v2 callers call Finish and are done: the source learns from the register whether the destination took over, and acts by itself. */
import { setTimeout as delay } from 'node:timers/promises';
import { HandoverError } from '@ferry/handover';
import { MigrationError } from '@ferry/migration';
import type { HeldOut, SourceAgent } from './agent.ts';

const lookEveryMs = 25;
/** More than the register's own bound, which comes first. */
const lookMsMax = 2_000;
/** How long a destination that has committed is given to start the guest, ms: until it has, it may withdraw. */
const startMsMax = 2_000;

/**
 * Watches the register until there is a decision, then ends this copy or lets it run. Ends at the latest when the migration is abandoned. A lost
 * lease does not end it: it is taken back meanwhile.
 */
export function awaitDecision(agent: SourceAgent, migrationId: string): void {
  watch(agent, migrationId).catch((error: unknown) => {
    agent.log.error(
      { err: error, migrationId },
      'the register cannot be watched; the migration is settled when it is abandoned',
    );
  });
}

async function watch(agent: SourceAgent, migrationId: string): Promise<void> {
  let committedMs: number | undefined;
  for (;;) {
    const held = agent.migrations.find(migrationId);
    // Somebody else has settled it: peer to peer, an abort, or its time was up.
    if (held === undefined || held.unsettled !== undefined) return;
    // Peer to peer this agent has called Finish itself, and its answer brings the destination's figures.
    if (held.driven) {
      await delay(lookEveryMs, undefined, { ref: false });
      continue;
    }
    const { domainUuid: domain, domainName } = held.ongoing.start;
    const decision = await look(agent, { domain, migrationId, run: held.state.run });
    if (decision === 'none') {
      // It held our vote. Another life of it answers, and only the destination knows now (spec/README.md, step 5); the guest is paused meanwhile.
      const message = `the register has forgotten that the source of domain ${domainName} voted`;
      return agent.migrations.giveUp(held, new HandoverError('register-changed', message));
    }
    if (decision === 'committed') committedMs ??= agent.clock.monotonic();
    const starting =
      committedMs !== undefined &&
      agent.clock.monotonic() - committedMs < startMsMax &&
      (await isStarting(agent, held));
    if (decision === 'aborted' || (decision === 'committed' && !starting)) {
      const message = `the destination has given up domain ${domainName}: its agent’s log says why`;
      return agent.migrations.giveUp(held, new MigrationError('destination-refused', message));
    }
    await delay(lookEveryMs, undefined, { ref: false });
  }
}

/** What the register says; nothing while it is away for a time, or answers with an error. */
async function look(agent: SourceAgent, of: { domain: string; migrationId: string; run: string }) {
  try {
    return (await agent.register.look(of, AbortSignal.timeout(lookMsMax))).decision;
  } catch (error) {
    const nothing = error instanceof HandoverError && error.kind !== 'register-changed';
    if (nothing) return undefined;
    throw error;
  }
}

/** Whether the destination is at Finish still: to ask the register now would bind both sides to the commit. */
async function isStarting(agent: SourceAgent, { state, ongoing }: HeldOut): Promise<boolean> {
  if (state.destinationAddress === '') return false;
  const { migrationId, domainUuid: domain } = ongoing.start;
  const asking = agent
    .destinationAt(state.destinationAddress)
    .getMigration({ migrationId, domain }, AbortSignal.timeout(startMsMax));
  return asking.then(
    ({ migration }) => migration?.active === true,
    () => false,
  );
}
