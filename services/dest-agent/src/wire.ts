/** The destination agent, made of its parts; and what it does before it serves. */
import { assertOwner, HeldMigrations, type Parts, startOf } from '@ferry/agent';
import { type DestAgent, type DestState, endJournal } from './agent.ts';
import { endOrphans, recover, revive, settledBy, takeUpJournaled } from './recover.ts';

export function destAgent(parts: Parts, world: Pick<DestAgent, 'ports' | 'sourceAt' | 'sourceRuns'>): DestAgent {
  const { jobs, journals, ongoing, gate, log, clock, config } = parts;
  const migrations: HeldMigrations<DestState> = new HeldMigrations<DestState>({
    side: 'dest',
    jobs,
    ongoing,
    gate,
    log,
    clock,
    patienceMs: () => config.idleMs,
    holdMs: config.holdMs,
    recover: (held, signal) => recover(agent, held, signal),
    // However long the source needs: memory is flowing.
    assertOwner: async (held) => {
      const { peerHost, decision } = held.state;
      if (peerHost !== '' && decision === undefined) await assertOwner(parts, held, peerHost);
    },
    busy: ({ state }) => state.incoming?.status === 'active',
    revive: async (job, signal) => ({ start: startOf(job, 'dest'), ...(await revive(agent, job, signal)) }),
    takeUpForgotten: async (signal) => {
      await takeUpJournaled(agent, signal);
      await endOrphans(agent, signal);
    },
    isOld: async (migrationId) => (await journals.of(migrationId).read()) !== undefined,
    settledBy,
    ended: (held) => endJournal(agent, held),
  });
  const agent: DestAgent = { ...parts, ...world, migrations };
  return agent;
}

/** Settles what this agent's life before left, and looks after migrations from then on. An old job may hold a QEMU that was about to run. */
export async function takeUpWork(agent: DestAgent, signal: AbortSignal): Promise<void> {
  await agent.migrations.sweep(signal);
  agent.migrations.startTicking();
}
