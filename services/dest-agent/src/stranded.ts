/** A guest is not taken in where nobody could do anything with it, or about its migration. */
import { setTimeout as delay } from 'node:timers/promises';
import { reachProblem } from '@ferry/agent';
import { MigrationError } from '@ferry/migration';
import { parseHostPort } from '@ferry/rpc';
import type { DestAgent } from './agent.ts';

/** A source agent that is being restarted is waited for as long, ms. */
const restartMs = 3_000;
const lookEveryMs = 50;

/** `sourceAddress`: the other source agent's, where it is known. Throws MigrationError source-unreachable, source-agent-away. */
export async function refuseStranded(
  agent: DestAgent,
  name: string,
  sourceAddress: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all([refuseUnreachable(agent, name, sourceAddress, signal), refuseWithoutAgent(agent, name, signal)]);
}

async function refuseUnreachable(
  { config, lookUp }: DestAgent,
  name: string,
  sourceAddress: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const host = parseHostPort(sourceAddress ?? '')?.host;
  const problem = host === undefined ? undefined : await reachProblem(lookUp, host, config.address, signal);
  if (problem === undefined) return;
  throw new MigrationError(
    'source-unreachable',
    `host ${config.host.name} could not ask the source of ${name} at ${sourceAddress} how its migration was decided: ${problem}; set FERRY_ADDRESS of the source’s agents`,
  );
}

async function refuseWithoutAgent(
  { config, clock, sourceRuns }: DestAgent,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const untilMs = clock.monotonic() + restartMs;
  while (!(await sourceRuns())) {
    if (clock.monotonic() >= untilMs) {
      throw new MigrationError(
        'source-agent-away',
        `host ${config.host.name} takes ${name} in only if its own source agent runs, and none has the state directory ${config.stateDir}: start it there, or nobody could command the guest`,
      );
    }
    await delay(lookEveryMs, undefined, { signal });
  }
}
