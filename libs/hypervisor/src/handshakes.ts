/**
 * A TLS handshake in which the other end says nothing. QEMU up to at least 7.2 waits for it in its main loop (the channel's socket blocks until the
 * migration begins), so that its monitor does not answer and a guest that runs stands still; only the end of the connection lets it go on.
 */
import { execFile } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Monitor } from '@ferry/qemu-qmp';
import type { ProcessIdentity } from './qemu-process.ts';

const run = promisify(execFile);
const toolMs = 2_000;
/** How often it is asked in as long as it may be silent. */
const asksPerLimit = 4;

/** Where a QEMU's memory connections are: at its own port, or at another one's. */
export interface MemoryPort {
  readonly at: 'here' | 'there';
  /** As in the migration's URI: a name or an address. */
  readonly host: string;
  readonly port: number;
}

const anyAddress: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

interface Waiting {
  readonly process: ProcessIdentity;
  readonly monitor: Monitor;
}

/**
 * Until `signal` aborts: a QEMU that does not answer for `limitMs` waits for a handshake, and its connection is ended. `ended` is called for each one.
 * Throws an Error that says why it cannot be ended.
 */
export async function watchHandshakes(
  { process, monitor }: Waiting,
  where: MemoryPort,
  limitMs: number,
  ended: (peer: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const over = AbortSignal.any([signal, monitor.closed]);
  while (!over.aborted) {
    const asked = monitor.execute('query-status', {}, over).catch(() => undefined);
    while (!(await isSettledWithin(asked, limitMs)) && !over.aborted) {
      for (const peer of await endConnections(process.pid, where)) ended(peer);
    }
    await delay(limitMs / asksPerLimit, undefined, { signal: over, ref: false }).catch(() => undefined);
  }
}

async function isSettledWithin(asked: Promise<unknown>, ms: number): Promise<boolean> {
  const late = async (): Promise<boolean> => {
    await delay(ms, undefined, { ref: false });
    // An answer that lies in the socket of a process that had no processor is read before a second timer is over.
    await delay(0);
    return false;
  };
  return Promise.race([asked.then(() => true), late()]);
}

/** Ends the connections of this process at the port with ss(8), and gives whom they were to. Those that nobody has accepted yet are no process's. */
async function endConnections(pid: number, where: MemoryPort): Promise<string[]> {
  const filter = await filterOf(where);
  const peers: string[] = [];
  for (const line of (await ss('-Htnp', 'state', 'established', filter)).split('\n')) {
    const [, , own = '', peer = '', users = ''] = line.trim().split(/\s+/);
    if (!users.includes(`pid=${pid},`)) continue;
    const killed = await ss('-KHtn', 'state', 'established', 'src', own, 'dst', peer);
    // Without the right, or where the kernel is built without INET_DIAG_DESTROY, ss ends with 0 and has done nothing.
    if (killed.trim() === '') throw endless(`ss -K does not end the connection from ${own} to ${peer}`);
    peers.push(peer);
  }
  return peers;
}

/** The same QEMU may be connected to that port of another host, for its disks say. */
async function filterOf({ at, host, port }: MemoryPort): Promise<string> {
  const end = at === 'here' ? 'src' : 'dst';
  if (anyAddress.has(host)) return `${end} = :${port}`;
  const found = await lookup(host, { all: true }).catch((cause: unknown) => {
    throw endless(`${host} cannot be resolved`, cause);
  });
  return found.map(({ address, family }) => `${end} = ${family === 6 ? `[${address}]` : address}:${port}`).join(' or ');
}

async function ss(...args: readonly string[]): Promise<string> {
  try {
    return (await run('ss', args, { timeout: toolMs })).stdout;
  } catch (cause) {
    throw endless(`ss cannot be run: ${cause instanceof Error ? cause.message.trim() : String(cause)}`, cause);
  }
}

const endless = (why: string, cause?: unknown): Error =>
  new Error(
    `QEMU waits for a TLS handshake that does not come, and ${why}: install iproute2, and give the agent CAP_NET_ADMIN`,
    { cause },
  );
