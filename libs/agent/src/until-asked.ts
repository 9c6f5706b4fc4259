/** How an agent's process runs: until a service manager asks it to end (SIGTERM), or somebody at a terminal does (Ctrl-C). */
import { setTimeout as delay } from 'node:timers/promises';
import { AgentError } from './errors.ts';

/** Of sysexits(3). What is configured cannot be used: starting again does not help; or it may help, later. */
export const exitStatus = { config: 78, temporary: 75 } as const;

/** A service manager starts the agent again at once, and each start takes a second of a processor. */
const temporaryMs = 2_000;

/**
 * Runs `main` with a signal that aborts when this process is asked to end, which is no failure. A second request ends it at once. What
 * is wrong with the configuration is told in plain words.
 */
export async function untilAsked(main: (shutdown: AbortSignal) => Promise<void>): Promise<void> {
  const asked = new AbortController();
  const ask = (name: NodeJS.Signals): void => {
    if (asked.signal.aborted) process.exit(name === 'SIGINT' ? 130 : 143);
    asked.abort(new Error(`${name} received`));
  };
  process.on('SIGTERM', ask);
  process.on('SIGINT', ask);
  try {
    await main(asked.signal);
  } catch (error) {
    if (asked.signal.aborted) return;
    if (!(error instanceof AgentError) || error.kind !== 'config-invalid') throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = error.isTemporary ? exitStatus.temporary : exitStatus.config;
    if (error.isTemporary) await delay(temporaryMs, undefined, { signal: asked.signal }).catch(() => undefined);
  }
}
