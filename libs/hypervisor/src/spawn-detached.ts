/** Starts a program that outlives whoever starts it. */
import { spawn } from 'node:child_process';
import { identifyNow, type ProcessIdentity } from './qemu-process.ts';

export interface SpawnOrder {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Its output goes to the open file `fd`. Gives who it is: undefined if it could not be started, or has ended already. `ended` is called once, later, with
 * how it ended, also if that is at once.
 */
export function spawnDetached(
  { program, args, env }: SpawnOrder,
  fd: number,
  ended: (how: string) => void,
): ProcessIdentity | undefined {
  const child = spawn(program, args, { detached: true, cwd: '/', env, stdio: ['ignore', fd, fd] });
  child.unref();
  child.once('error', (error) => ended(error.message));
  child.once('exit', (code, by) => ended(`ended with ${by === null ? `status ${code}` : by}`));
  // Before the next turn of the event loop, in which its end could be noted and its pid be given to another process.
  return child.pid === undefined ? undefined : identifyNow(child.pid);
}
