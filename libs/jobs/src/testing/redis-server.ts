import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { Redis, type RedisOptions } from 'ioredis';

type Server = ChildProcessByStdio<null, Readable, null>;

/** A Redis of a test's own, on a UNIX socket in a temporary directory. It keeps nothing across a restart. */
export interface PrivateRedis extends AsyncDisposable {
  readonly socket: string;
  /** A client, closed with the server. It fails fast, as the agents' does. */
  client(options?: Pick<RedisOptions, 'commandTimeout' | 'retryStrategy'>): Redis;
  /** Stops answering, keeps every connection: a hang, not a refusal. */
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
  /** Another life of Redis on the same socket, with another run id. Kills the old one if it still runs. */
  restart(): Promise<void>;
}

/** Starts a private redis-server and waits until it serves. */
export async function startRedis(): Promise<PrivateRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'ferry-redis-'));
  const socket = join(directory, 's');
  const clients: Redis[] = [];
  let server = await serve(directory, socket);

  return {
    socket,
    client(options = {}) {
      // ioredis 6 keeps its disconnect timer, 2 s, where the connection had gone already: too long for Jest to wait.
      const bounds = { maxRetriesPerRequest: 1, commandTimeout: 2000, disconnectTimeout: 100 };
      const client = new Redis({ path: socket, ...bounds, ...options });
      client.on('error', () => {}); // each command rejects by itself
      clients.push(client);
      return client;
    },
    freeze: () => void server.kill('SIGSTOP'),
    thaw: () => void server.kill('SIGCONT'),
    kill: () => end(server),
    async restart() {
      await end(server);
      server = await serve(directory, socket);
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.disconnect();
      await end(server);
      // By itself first: Jest 30 on Node 24 fails to resolve its own modules after a recursive rm that met a socket.
      await rm(socket, { force: true });
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function serve(directory: string, socket: string): Promise<Server> {
  const args = ['--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--dir', directory];
  // The kernel ends it with the test's process, however that ends: Ctrl-C in Jest ends its workers without a word.
  const server = spawn('setpriv', ['--pdeathsig', 'KILL', 'redis-server', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(server, 'spawn');
  for await (const line of createInterface(server.stdout)) {
    if (line.includes('ready to accept connections')) {
      server.stdout.resume(); // a full pipe would stop it
      return server;
    }
  }
  throw new Error('redis-server ended before it served');
}

async function end(server: Server): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGKILL');
  await exited;
}
