/** The source agent, made of its parts; and what it does before it serves. */
import { assertOwner, HeldMigrations, type Parts, startOf } from '@ferry/agent';
import type { Phase } from '@ferry/migration';
import { endJournal, type SourceAgent, type SourceState } from './agent.ts';
import { openMigration } from './open-migration.ts';
import { OwnershipKeeper } from './ownership.ts';
import { sendingTurns } from './switchover-turns.ts';
import { recover, revive, settledBy, takeUpJournaled } from './recover.ts';

/** A guest that ended by itself is nobody's concern now: who needs its domain goes first. */
const collectWaitMs = 1_000;

export function sourceAgent(parts: Parts, destinationAt: SourceAgent['destinationAt']): SourceAgent {
  const { jobs, journals, ongoing, gate, log, clock, config } = parts;
  const migrations: HeldMigrations<SourceState> = new HeldMigrations<SourceState>({
    side: 'source',
    jobs,
    ongoing,
    gate,
    log,
    clock,
    // A guest that was sent stands still: whoever was to go on with it had everything it needed.
    patienceMs: ({ phase }) => (isSent(phase) ? config.finishMs : config.idleMs),
    holdMs: config.holdMs,
    recover: (held, signal) => recover(agent, held, signal),
    busy: () => false,
    assertOwner: async (held) => {
      if (held.state.decision !== 'committed') await assertOwner(parts, held, config.host.name);
    },
    revive: async (job) => ({ start: startOf(job, 'source'), ...(await revive(agent, job)) }),
    takeUpForgotten: (signal) => takeUpJournaled(agent, signal),
    isOld: async (migrationId) => (await journals.of(migrationId).read()) !== undefined,
    settledBy,
    ended: (held) => endJournal(agent, held),
  });
  const ownership = new OwnershipKeeper({
    ...parts,
    host: config.host.name,
    migrating: async (domain, signal) =>
      migrations.all().some((held) => held.ongoing.start.domainUuid === domain) ||
      (await jobs.activeOf(domain, signal)) !== undefined,
    underJob: async (domain, signal, act) => {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(collectWaitMs)]);
      await using _job = await jobs.beginJob(domain, 'modify', 'Collect', patience);
      if ((await openMigration(agent, domain, signal)) === undefined) await act();
    },
  });
  const agent: SourceAgent = { ...parts, destinationAt, migrations, ownership, sending: sendingTurns() };
  return agent;
}

const isSent = (phase: Phase | undefined): boolean => phase === 'perform3-done' || phase === 'perform2-done';

/** Settles what this agent's life before left, and looks after migrations from then on. An old job may hold a paused guest. */
export async function takeUpWork(agent: SourceAgent, signal: AbortSignal): Promise<void> {
  await agent.migrations.sweep(signal);
  agent.migrations.startTicking();
  agent.ownership.startTicking();
}
