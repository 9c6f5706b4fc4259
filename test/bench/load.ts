/** Starts a caller without manners beside what is measured. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Lab } from '@ferry/lab';

export interface Load {
  /** Streams on each agent that watch the migration and are never read: their window is 0. */
  readonly watchers: number;
  /** Calls of List that are under way all the time. */
  readonly lists: number;
  /** Calls on each agent with a deadline of 1 ms. */
  readonly callsPerSecond: number;
  /** Messages of a few kilobytes that inflate to 7 MiB, 100 a second on each agent. */
  readonly bombs: boolean;
}

export interface LoadPlan extends Load {
  readonly agents: readonly { readonly address: string; readonly service: 'SourceAgent' | 'DestAgent' }[];
  readonly tls: Lab['tls'];
  readonly migrationId: string;
  readonly domain: string;
}

/** With a certificate of its own, on a's source agent and b's destination agent; ends when disposed of, or with this process. */
export async function startLoad(
  lab: Lab,
  load: Load,
  names: Pick<LoadPlan, 'migrationId' | 'domain'>,
): Promise<AsyncDisposable> {
  const agents: LoadPlan['agents'] = [
    { address: lab.host('a').sourceAddress, service: 'SourceAgent' },
    { address: lab.host('b').destAddress, service: 'DestAgent' },
  ];
  const plan: LoadPlan = { ...load, ...names, agents, tls: await lab.issue('caller-without-manners') };
  const program = join(import.meta.dirname, 'load-process.ts');
  const child = spawn(process.execPath, [program, JSON.stringify(plan)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), ended]);
  if (child.exitCode !== null) throw new Error('the load did not start: what it says is above');
  return {
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
