/** A master, a replica and three sentinels on loopback: fail-overs, lost writes, and an old master that is cut off and goes on answering. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join as pathOf } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { LabProcess } from './lab-process.ts';
import { LogFile } from './log-file.ts';
import { takeBlock } from './ports.ts';
import { patience } from './patience.ts';
import { type RedisOptions, RedisServer } from './redis-server.ts';

const master = 'ferry';
const db = 1;
/** Clients log in with this; replicas, and the sentinels, as users that can be shut out. */
const password = 'lab-redis-password';
const users = ['replica', 'sentinel'] as const;
type User = (typeof users)[number];
const sentinelPassword = 'lab-sentinel-password';
const downAfterMs = 500;
/** Between the beginnings of two fail-overs lies at least twice that. */
const failOverMs = 1_500;
/** Sentinels take their time for what cannot be configured. */
const pace = ['info-period', 200, 'ask-period', 100, 'publish-period', 200];
const soon = (): AbortSignal => patience(60_000);

export class SentinelGroup {
  readonly servers: readonly [RedisServer, RedisServer];
  readonly sentinelPorts: readonly number[];
  readonly #dir: string;
  readonly #admins: readonly Redis[];
  #client: Redis | undefined;

  private constructor(dir: string, options: RedisOptions, port: number) {
    this.#dir = dir;
    this.servers = [server(dir, options, 'redis-0', port), server(dir, options, 'redis-1', port + 1)];
    this.sentinelPorts = [port + 2, port + 3, port + 4];
    this.#admins = this.sentinelPorts.map((at) =>
      new Redis({ host: '127.0.0.1', port: at, password: sentinelPassword, protocol: 2, lazyConnect: true }).on(
        'error',
        () => undefined,
      ),
    );
  }

  /** Nothing runs yet. */
  static async make(dir: string, options: RedisOptions, signal: AbortSignal): Promise<SentinelGroup> {
    return new SentinelGroup(dir, options, await takeBlock(dir, signal));
  }

  /** For FERRY_REDIS_URL; `sentinels` are other ways to reach them, HOST:PORT each. */
  urlBy(sentinels: readonly string[] = this.sentinelPorts.map((port) => `127.0.0.1:${port}`)): string {
    const query = `sentinel_password=${sentinelPassword}`;
    return `redis+sentinel://:${password}@${sentinels.join(',')}/${master}/${db}?${query}`;
  }

  get url(): string {
    return this.urlBy();
  }

  /** A client of the tests' own of whoever is the master, connected on first use. */
  get client(): Redis {
    const sentinels = this.sentinelPorts.map((port) => ({ host: '127.0.0.1', port }));
    this.#client ??= new Redis({ sentinels, name: master, db, password, sentinelPassword }).on(
      'error',
      () => undefined,
    );
    return this.#client;
  }

  /** Starts all of it, and waits until the sentinels know each other and the replica. */
  async start(signal: AbortSignal = soon()): Promise<void> {
    const [first, second] = this.servers;
    await first.start(signal);
    await second.start(signal, first);
    await Promise.all(this.sentinelPorts.map((port) => this.#startSentinel(port, signal)));
    await Promise.all(this.#admins.map((admin) => admin.call('SENTINEL', 'DEBUG', ...pace)));
    await this.untilHealthy(signal);
  }

  async #startSentinel(port: number, signal: AbortSignal): Promise<void> {
    const name = `sentinel-${port}`;
    const dir = pathOf(this.#dir, name);
    mkdirSync(dir);
    // A sentinel writes into its file what it learns.
    const file = pathOf(dir, 'sentinel.conf');
    writeFileSync(file, this.#settings(port, dir).join('\n'), { mode: 0o600 });
    const log = new LogFile(pathOf(this.#dir, `${name}.log`));
    const env = { PATH: process.env['PATH'] ?? '' };
    const program = { file: 'redis-server', args: [file, '--sentinel'], cwd: dir, env };
    const sentinel = await LabProcess.spawn(name, program, this.#dir, log);
    const ready = (lines: string[]) => (lines.some((line) => line.includes('+monitor master')) ? true : undefined);
    if ((await log.until(ready, 0, () => !sentinel.running, signal)) !== true)
      throw new Error(`${name} does not start; its log:\n${log.tail()}`);
  }

  #settings(port: number, dir: string): string[] {
    return [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${dir}`,
      // See RedisServer.start.
      'set-proc-title no',
      `requirepass ${sentinelPassword}`,
      `sentinel sentinel-pass ${sentinelPassword}`,
      `sentinel monitor ${master} 127.0.0.1 ${this.servers[0].port} 2`,
      `sentinel auth-user ${master} sentinel`,
      `sentinel auth-pass ${master} sentinel`,
      `sentinel down-after-milliseconds ${master} ${downAfterMs}`,
      `sentinel failover-timeout ${master} ${failOverMs}`,
      '',
    ];
  }

  /** The server that most sentinels name; undefined while they do not agree. */
  async master(): Promise<RedisServer | undefined> {
    const states = await this.#states();
    return this.servers.find(({ port }) => states.filter((state) => state['port'] === String(port)).length >= 2);
  }

  /** Waits until another than `old` is the master, and says so itself. */
  async untilFailedOver(old: RedisServer, signal: AbortSignal = soon()): Promise<RedisServer> {
    return until(async () => {
      const now = await this.master();
      if (now === undefined || now === old) return undefined;
      const info = await now.client.info('replication');
      return info.includes('role:master') ? now : undefined;
    }, signal);
  }

  /** Brings back what was ended or cut off, as a replica, and waits until another fail-over would succeed. */
  async heal(signal: AbortSignal = soon()): Promise<void> {
    const now = await until(() => this.master(), signal);
    for (const each of this.servers) {
      if (each === now) continue;
      if (each.pid === undefined) await each.start(signal, now);
      else await join(each, now);
    }
    for (const user of users) await allow(now, user, 'on');
    await this.untilHealthy(signal);
  }

  /** Waits until the sentinels know each other, the master, and a replica that is up to date. */
  async untilHealthy(signal: AbortSignal = soon()): Promise<void> {
    await until(async () => {
      const states = await this.#states();
      const well = (state: Record<string, string>) =>
        state['flags'] === 'master' && state['num-other-sentinels'] === '2' && state['num-slaves'] === '1';
      if (states.length < this.sentinelPorts.length || !states.every(well)) return undefined;
      const now = await this.master();
      const replica = this.servers.find((each) => each !== now);
      const link = (await replica?.client.info('replication')) ?? '';
      if (!link.includes('master_link_status:up') || !link.includes(`master_port:${now?.port}`)) return undefined;
      const seen = await Promise.all(
        this.#admins.map(async (admin) => pairs(listsOf(await admin.call('SENTINEL', 'REPLICAS', master))[0])),
      );
      return seen.every((each) => each['flags'] === 'slave' && each['master-link-status'] === 'ok') || undefined;
    }, signal);
  }

  /** The replica misses what is written from now on. */
  async stopReplication(): Promise<void> {
    const now = await this.master();
    if (now !== undefined) await allow(now, 'replica', 'off');
  }

  /** Neither replica nor sentinels reach the server any more; clients do. */
  async cutOff(old: RedisServer): Promise<void> {
    for (const user of users) await allow(old, user, 'off');
  }

  async #states(): Promise<Record<string, string>[]> {
    const replies = this.#admins.map((admin) => admin.call('SENTINEL', 'MASTER', master).catch(() => undefined));
    return (await Promise.all(replies)).map(pairs).filter((state) => Object.keys(state).length > 0);
  }

  /** Closes the tests' own clients. */
  disconnect(): void {
    for (const client of [...this.#admins, ...(this.#client === undefined ? [] : [this.#client])]) client.disconnect();
    for (const each of this.servers) each.disconnect();
  }
}

/** Makes one that was cut off a replica, as sentinels would after some time: whoever is still connected must ask anew. */
async function join(old: RedisServer, now: RedisServer): Promise<void> {
  for (const user of users) await allow(old, user, 'on');
  if ((await old.client.info('replication')).includes('role:slave')) return;
  await old.client.replicaof('127.0.0.1', now.port);
  await old.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
}

async function allow({ client }: RedisServer, user: User, whether: 'on' | 'off'): Promise<void> {
  await client.call('ACL', 'SETUSER', user, whether);
  if (whether === 'off') await client.call('CLIENT', 'KILL', 'USER', user);
}

function server(dir: string, options: RedisOptions, name: string, port: number): RedisServer {
  const among = ['--masteruser', 'replica', '--masterauth', 'replica', '--repl-diskless-sync-delay', '0'];
  const user = users.flatMap((each) => ['--user', each, 'on', `>${each}`, '~*', '&*', '+@all']);
  const args = ['--bind', '127.0.0.1', '--requirepass', password, ...user, ...among];
  return new RedisServer(dir, options, { name, port, password, args });
}

const listsOf = (reply: unknown): unknown[] => (Array.isArray(reply) ? reply : []);

function pairs(reply: unknown): Record<string, string> {
  const flat = listsOf(reply).map(String);
  return Object.fromEntries(flat.flatMap((name, at) => (at % 2 === 0 ? [[name, flat[at + 1] ?? '']] : [])));
}

/** Waits until `find` gives something; throws the signal's reason. */
async function until<T>(find: () => Promise<T | undefined>, signal: AbortSignal): Promise<T> {
  for (;;) {
    const found = await find().catch(() => undefined);
    if (found !== undefined) return found;
    signal.throwIfAborted();
    await delay(20);
  }
}
