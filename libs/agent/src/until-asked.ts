/** How an agent's process runs: until a service manager asks it to end (SIGTERM), or somebody at a terminal does (Ctrl-C). */
import { AgentError } from './errors.ts';

/** sysexits(3): what is configured cannot be used. Starting again does not help. */
const exitConfig = 78;

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
    process.exitCode = exitConfig;
  }
}
