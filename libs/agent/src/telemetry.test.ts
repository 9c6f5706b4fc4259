import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { startRedis } from '@ferry/jobs/testing';
import { migrationId } from './testing/agent.ts';
import { startCollector } from './testing/collector.ts';

const program = fileURLToPath(import.meta.resolve('./testing/traced.ts'));

interface Line {
  readonly msg: string;
  readonly address?: string;
  readonly trace_id?: string;
  readonly migrationId?: string;
}

/** One of the programs of testing/traced.ts. Killed, if need be, when disposed of. */
class Traced implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: Line[] = [];
  readonly #ended: Promise<unknown[]>;
  #seen: () => void = () => {};

  constructor(role: 'serve' | 'call', argument: string, env: Record<string, string>) {
    const { OTEL_EXPORTER_OTLP_ENDPOINT: _, ...inherited } = process.env;
    this.#child = spawn(process.execPath, [program, role, argument], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...inherited, ...env },
    });
    this.#ended = once(this.#child, 'exit');
    const { stdout } = this.#child;
    if (stdout === null) throw new Error('no output');
    createInterface({ input: stdout }).on('line', (text) => {
      const line: Line = JSON.parse(text);
      this.#lines.push(line);
      this.#seen();
    });
  }

  /** Waits until it has logged that. */
  async line(msg: string): Promise<Line> {
    for (;;) {
      const line = this.#lines.find((each) => each.msg === msg);
      if (line !== undefined) return line;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#seen = resolve;
      const over = await Promise.race([promise, this.#ended]);
      if (over !== undefined) throw new Error(`ended without saying ${msg}`);
    }
  }

  /** How it ended: its exit status, or the signal. */
  async end(): Promise<unknown> {
    const [code, signal] = await this.#ended;
    return code ?? signal;
  }

  terminate(): void {
    this.#child.kill('SIGTERM');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('telemetry', () => {
  it('makes one trace across both processes and Redis, and its id is in the logs', async () => {
    await using redis = await startRedis();
    await using collector = await startCollector();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_METRIC_EXPORT_INTERVAL: '100' };
    await using agent = new Traced('serve', redis.socket, env);
    const { address = '' } = await agent.line('serving');
    await using caller = new Traced('call', address, env);
    expect(await caller.end()).toBe(0);
    const answered = await agent.line('answered');
    agent.terminate();
    expect(await agent.end()).toBe(0);

    const { spans } = collector;
    const span = (name: string) => {
      const found = spans.filter((each) => each.name === name);
      expect([name, found.length]).toEqual([name, 1]);
      return found[0];
    };
    const migrate = span('migrate');
    const ours = spans.filter((each) => each.trace === migrate?.trace);
    const chain = [
      'migrate',
      'grpc.ferry.v1.DestAgent/Prepare',
      'grpc.ferry.v1.DestAgent/Prepare',
      'migration.prepare',
      'set',
    ];
    let parent = '';
    for (const name of chain) {
      const next = ours.find((each) => each.name === name && each.parent === parent);
      expect([name, next?.name]).toEqual([name, name]);
      parent = next?.id ?? 'none';
    }
    expect(ours.map(({ service, name }) => `${service} ${name}`).toSorted()).toEqual([
      'call grpc.ferry.v1.DestAgent/Prepare',
      'call migrate',
      'serve grpc.ferry.v1.DestAgent/Prepare',
      'serve migration.prepare',
      'serve set',
    ]);
    // Nothing strays: no traces of health checks, of connections to Redis, of the log.
    expect(spans).toHaveLength(ours.length);
    expect(span('migration.prepare')?.raw).toContain(migrationId);
    for (const { raw } of spans) expect(raw).not.toMatch(/secret/);
    // Metrics go to the same collector.
    expect(collector.metrics.join('')).toMatch(/rpc\.server\.call\.duration/);
    expect(collector.metrics.join('')).toMatch(/process\.memory\.usage/);

    expect((await caller.line('called')).trace_id).toBe(migrate?.trace);
    expect(answered).toMatchObject({ trace_id: migrate?.trace, migrationId, side: 'dest', phase: 'prepare' });
  });

  it('never decides how a process ends: a collector that is away is only missed', async () => {
    await using redis = await startRedis();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' };
    await using agent = new Traced('serve', redis.socket, env);
    const { address = '' } = await agent.line('serving');
    await using caller = new Traced('call', address, env);
    expect(await caller.end()).toBe(0);
    agent.terminate();
    expect(await agent.end()).toBe(0);
  });

  it('never keeps a process alive: a collector that takes everything and answers nothing is left', async () => {
    await using redis = await startRedis();
    const mute = createServer((socket) => void socket.resume().on('error', () => undefined));
    await once(mute.listen(0, '127.0.0.1'), 'listening');
    const address = mute.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await using agent = new Traced('serve', redis.socket, {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_METRIC_EXPORT_INTERVAL: '50',
      // An hour, by the collector’s own patience.
      OTEL_EXPORTER_OTLP_TIMEOUT: '3600000',
    });
    const connected = once(mute, 'connection');
    await agent.line('serving');
    await connected;
    agent.terminate();
    expect(await agent.end()).toBe(0);
    mute.close();
  });

  it('lets Prometheus fetch how long calls took', async () => {
    await using redis = await startRedis();
    const port = await freePort();
    await using agent = new Traced('serve', redis.socket, { FERRY_METRICS_LISTEN: `127.0.0.1:${port}` });
    const { address = '' } = await agent.line('serving');
    await using caller = new Traced('call', address, {});
    expect(await caller.end()).toBe(0);
    await agent.line('answered');
    const scraped = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(scraped).toMatch(/rpc_server_call_duration_seconds_count\{.*rpc_method="ferry.v1.DestAgent\/Prepare".*\} 1/);
    expect((await caller.line('called')).trace_id).toMatch(/^[0-9a-f]{32}$/);
  });
});
