/** The lab's one Redis: real, private, and stopped or killed when a test wants that. */
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { LabProcess } from './lab-process.ts';
import { LogFile } from './log-file.ts';
import { patience } from './patience.ts';

/** How the lab runs its Redis. */
export interface RedisOptions {
  /** Keep data over a stop or kill (append-only file, every write synced); otherwise each life begins empty. */
  readonly durable?: boolean;
}

/** One of several servers (see redis-sentinel.ts). */
export interface RedisNode {
  readonly name: string;
  readonly port: number;
  readonly password: string;
  readonly args: readonly string[];
}

/** A redis-server on a UNIX socket in the lab's directory. */
export class RedisServer {
  readonly socket: string;
  readonly log: LogFile;
  readonly #dir: string;
  readonly #durable: boolean;
  readonly #node: RedisNode | undefined;
  #process: LabProcess | undefined;
  #client: Redis | undefined;

  constructor(dir: string, options: RedisOptions, node?: RedisNode) {
    const name = node?.name ?? 'redis';
    this.#dir = dir;
    this.#durable = options.durable ?? false;
    this.#node = node;
    this.socket = join(dir, `${name}.sock`);
    this.log = new LogFile(join(dir, `${name}.log`));
  }

  /** For FERRY_REDIS_URL. */
  get url(): string {
    return `unix://${this.socket}`;
  }

  get pid(): number | undefined {
    return this.#process?.running === true ? this.#process.id.pid : undefined;
  }

  /** A client of the tests' own, connected on first use. */
  get client(): Redis {
    const login = this.#node === undefined ? {} : { password: this.#node.password };
    this.#client ??= new Redis(this.socket, { maxRetriesPerRequest: 1, ...login }).on('error', () => undefined);
    return this.#client;
  }

  /** 0: it listens on its socket alone. */
  get port(): number {
    return this.#node?.port ?? 0;
  }

  /** Starts it and waits until it accepts connections; as a replica of `master`, if one is given. */
  async start(signal: AbortSignal = patience(30_000), master?: RedisServer): Promise<void> {
    if (this.#process?.running === true) return;
    const from = this.log.size;
    const file = this.#durable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no'];
    // Its process title would overwrite its environment, by which the lab's processes are found (see processesOfLab).
    const title = ['--set-proc-title', 'no'];
    const place = ['--port', String(this.port), '--unixsocket', this.socket, '--dir', this.#dir];
    const role = master === undefined ? [] : ['--replicaof', '127.0.0.1', String(master.port)];
    const args = [...title, ...place, '--save', '', ...file, ...(this.#node?.args ?? []), ...role];
    const env = { PATH: process.env['PATH'] ?? '' };
    const server = await LabProcess.spawn(
      'redis-server',
      { file: 'redis-server', args, cwd: this.#dir, env },
      this.#dir,
      this.log,
    );
    this.#process = server;
    const ready = (lines: string[]) =>
      lines.some((line) => line.includes('eady to accept connections')) ? true : undefined;
    if ((await this.log.until(ready, from, () => !server.running, signal)) !== true) {
      throw new Error(`redis-server does not start; its log:\n${this.log.tail()}`);
    }
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    await this.#process?.end('SIGTERM');
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    await this.#process?.end('SIGKILL');
  }

  /** SIGSTOP makes it hang with its connections open, SIGCONT lets it go on. */
  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  /** Closes the tests' own client. */
  disconnect(): void {
    this.#client?.disconnect();
    this.#client = undefined;
  }
}
