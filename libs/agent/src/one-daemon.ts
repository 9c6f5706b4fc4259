/** One daemon a side and state directory: two would take each other's QEMUs, journals and jobs for their own. */
import { mkdir, stat } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import type { Side } from '@ferry/migration';
import { listenerOf } from '@ferry/hypervisor';
import { AgentError } from './errors.ts';

/**
 * Holds an abstract UNIX socket (unix(7)) that is named after the directory itself, whatever path leads to it. The kernel takes it away with the process,
 * so that one that was killed leaves nothing behind. Throws AgentError config-invalid, which names the process that holds it.
 */
export async function holdStateDirectory(side: Side, stateDir: string): Promise<Disposable> {
  await mkdir(stateDir, { recursive: true });
  const name = await nameOf(side, stateDir);
  const server = createServer((socket) => socket.destroy()).unref();
  try {
    await listening(server, `\0${name}`);
  } catch (cause) {
    if (typeof cause !== 'object' || cause === null || !('code' in cause) || cause.code !== 'EADDRINUSE') throw cause;
    const holder = await listenerOf(`@${name}`).catch(() => undefined);
    const who = holder === undefined ? '' : ` (pid ${holder.pid})`;
    throw new AgentError(
      'config-invalid',
      `another ${side} agent${who} uses the state directory ${stateDir}: end that one first, or give this one a host of its own (FERRY_HOST, FERRY_HOST_UUID, FERRY_STATE_DIR)`,
      { cause },
    );
  }
  return {
    [Symbol.dispose]: () => void server.close(),
  };
}

function listening(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ path }, resolve);
  return promise;
}

async function nameOf(side: Side, stateDir: string): Promise<string> {
  const { dev, ino } = await stat(stateDir, { bigint: true });
  return `ferry-${side}-${dev}-${ino}`;
}

/** Whether an agent of that side has the state directory, and its process lives. */
export async function agentRuns(side: Side, stateDir: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ path: `\0${await nameOf(side, stateDir)}` });
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
