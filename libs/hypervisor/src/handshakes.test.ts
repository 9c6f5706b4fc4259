import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import type { Monitor } from '@ferry/qemu-qmp';
import { type MemoryPort, watchHandshakes } from './handshakes.ts';

const patient = (): AbortSignal => AbortSignal.timeout(30_000);
/** A QEMU that waits in its main loop. */
const deaf = { execute: () => new Promise(() => {}), closed: new AbortController().signal };

let servers: Server[];
let sockets: Socket[];
beforeEach(async () => {
  sockets = [];
  servers = [];
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

/** That its connection is ended is what it is for. */
function keep(socket: Socket): Socket {
  sockets.push(socket);
  return socket.on('error', () => undefined);
}

async function listen(host: string, port: number): Promise<number> {
  const server = createServer(keep).listen(port, host);
  servers.push(server);
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function connected(options: { host: string; port: number; localAddress?: string; localPort?: number }) {
  const socket = keep(connect(options));
  const closed = Promise.withResolvers<void>();
  socket.once('close', () => closed.resolve());
  await once(socket, 'connect', { signal: patient() });
  return { socket, closed: closed.promise, port: socket.localPort };
}

/** Watches this very process until one connection was ended; gives whom that was to. */
async function firstEnded(where: MemoryPort): Promise<string> {
  const over = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string>();
  const qemu = { process: { pid: process.pid, startTime: '' }, monitor: deaf as unknown as Monitor };
  const watching = watchHandshakes(qemu, where, 20, resolve, over.signal);
  const peer = await promise;
  over.abort();
  await watching;
  return peer;
}

it('ends the connection to the destination, and none to the same port of another host', async () => {
  const port = await listen('127.0.0.1', 0);
  await listen('127.0.0.2', port);
  const storage = await connected({ host: '127.0.0.2', port });
  const memory = await connected({ host: '127.0.0.1', port });
  expect(await firstEnded({ at: 'there', host: 'localhost', port })).toBe(`127.0.0.1:${port}`);
  await memory.closed;
  expect(storage.socket.destroyed).toBe(false);
});

it('ends a connection to its own address, and none that it has made from the same port of another', async () => {
  const port = await listen('127.0.0.1', 0);
  const other = await listen('127.0.0.3', 0);
  const storage = await connected({ host: '127.0.0.3', port: other, localAddress: '127.0.0.2', localPort: port });
  const stranger = await connected({ host: '127.0.0.1', port });
  expect(await firstEnded({ at: 'here', host: '127.0.0.1', port })).toBe(`127.0.0.1:${stranger.port}`);
  await stranger.closed;
  expect(storage.socket.destroyed).toBe(false);
});

it('ends what came to any address where QEMU listens on all', async () => {
  const port = await listen('0.0.0.0', 0);
  const stranger = await connected({ host: '127.0.0.2', port });
  await firstEnded({ at: 'here', host: '0.0.0.0', port });
  await stranger.closed;
});
