import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Runs a command of QEMU's and gives what it returns. */
type Execute = (name: string, args?: Record<string, string>) => Promise<unknown>;

/** Where each device with a PCI address is: `{ net0: 'pci.1 00.0' }`. Throws what QEMU complains of. */
export const devicesOf = (options: readonly string[], directory: string): Promise<Record<string, string>> =>
  asking(options, directory, addressesFrom);

/** Starts a real QEMU with these options, stopped, and asks it over a bare socket. Throws what QEMU complains of. */
export async function asking<T>(
  options: readonly string[],
  directory: string,
  ask: (execute: Execute) => Promise<T>,
): Promise<T> {
  const socket = join(directory, 'qmp');
  const launcher = ['-S', '-nodefaults', '-no-user-config', '-display', 'none'];
  // QEMU connects to us, so there is nothing to wait for.
  const server = createServer().listen(socket);
  await once(server, 'listening');
  const qemu = spawn('qemu-system-x86_64', [...launcher, '-qmp', `unix:${socket}`, ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  qemu.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  const ended = once(qemu, 'close').then(() => {
    throw new Error(`QEMU ended: ${complaint}`);
  });
  ended.catch(() => {});
  try {
    const connected = once(server, 'connection').then(async ([connection]: Socket[]) => {
      try {
        return await ask(await greeted(connection));
      } finally {
        connection?.destroy();
      }
    });
    // When QEMU hangs up, what it said on its way out is the better reason.
    const answered = connected.catch(async (error: unknown) => {
      qemu.kill('SIGKILL');
      await ended;
      throw error;
    });
    return await Promise.race([ended, answered]);
  } finally {
    qemu.kill('SIGKILL');
    await ended.catch(() => {});
    server.close();
    await once(server, 'close');
  }
}

async function greeted(connection: Socket | undefined): Promise<Execute> {
  if (connection === undefined) throw new Error('no connection');
  const lines = createInterface(connection)[Symbol.asyncIterator]();
  const read = async () => JSON.parse(String((await lines.next()).value)) as { return?: unknown; event?: string };
  const execute: Execute = async (name, args = {}) => {
    connection.write(`${JSON.stringify({ execute: name, arguments: args })}\n`);
    let reply = await read();
    while (reply.event !== undefined) reply = await read();
    return reply.return;
  };
  await read();
  await execute('qmp_capabilities');
  return execute;
}

async function addressesFrom(execute: Execute): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  // A stopped guest has no firmware that numbered its buses: what query-pci leaves out, QOM knows.
  for (const { name } of (await execute('qom-list', { path: '/machine/peripheral' })) as { name: string }[]) {
    const path = `/machine/peripheral/${name}`;
    const addr = await execute('qom-get', { path, property: 'addr' });
    const bus = await execute('qom-get', { path, property: 'parent_bus' });
    if (typeof addr !== 'number') continue;
    found[name] = `${String(bus).split('/').at(-1)} ${(addr >> 3).toString(16).padStart(2, '0')}.${addr & 7}`;
  }
  return found;
}

/** A directory that is gone afterwards. */
export async function withDirectory<T>(run: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'ferry-domain-xml-'));
  try {
    return await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
