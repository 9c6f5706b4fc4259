/** `./dev bench --start`: from exec to serving, and what an agent weighs that has nothing to do: the sources and the bundle in turn. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startRedis } from '@ferry/jobs/testing';
import { cpuMs } from './process-cost.ts';
import { formatSummary, summarize } from './statistics.ts';
import { formatTable } from './table.ts';

const root = join(import.meta.dirname, '..', '..');
/** What a start has left to collect is collected, and what it has left to do is done. */
const idleMs = 2_000;

interface Start {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly rssMiB: number;
}

async function start(argv: readonly string[], env: Record<string, string>): Promise<Start> {
  const began = performance.now();
  const [file = '', ...args] = argv;
  const agent = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const pid = agent.pid ?? 0;
  try {
    await served(agent);
    const wallMs = performance.now() - began;
    const used = cpuMs([pid]);
    await delay(idleMs);
    const rss = Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    return { wallMs, cpuMs: used, rssMiB: rss / 1024 };
  } finally {
    agent.kill();
    if (agent.exitCode === null) await once(agent, 'exit');
  }
}

async function served({ stdout }: ChildProcess): Promise<void> {
  if (stdout === null) throw new Error('no output');
  for await (const line of createInterface({ input: stdout })) if (line.includes('"msg":"serving"')) return;
  throw new Error('the agent ended before it served');
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '9' } } });
const rounds = Number(values.rounds);
const dir = mkdtempSync(join(tmpdir(), 'ferry-start-'));
try {
  const dist = join(dir, 'dist');
  execFileSync(process.execPath, [join(root, 'tools/build.ts'), dist], { stdio: 'inherit' });
  await using redis = await startRedis();
  const env = {
    PATH: process.env['PATH'] ?? '',
    FERRY_HOST: 'a',
    FERRY_LISTEN: '127.0.0.1:0',
    FERRY_INSECURE_LOOPBACK: '1',
    FERRY_REDIS_URL: redis.socket,
    FERRY_STATE_DIR: join(dir, 'state'),
  };
  const cached = { ...env, NODE_COMPILE_CACHE: join(dir, 'cache') };
  const sources = (side: string): string[] => [process.execPath, join(root, `services/${side}-agent/src/main.ts`)];
  const bundle = (side: string): string[] => [process.execPath, join(dist, `${side}-agent.mjs`)];
  const contenders = ['source', 'dest'].flatMap((side) => [
    { name: `${side} agent, sources`, run: () => start(sources(side), env) },
    { name: `${side} agent, sources, compiled before`, run: () => start(sources(side), cached) },
    { name: `${side} agent, bundle`, run: () => start(bundle(side), env) },
  ]);
  const starts = new Map<string, Start[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round += 1)
    for (const { name, run } of contenders) {
      const took = await run();
      if (round > 0) starts.get(name)?.push(took);
    }
  const cell = (each: readonly Start[], key: keyof Start): string =>
    formatSummary(summarize(each.map((one) => one[key])), 0);
  const rows = [...starts].map(([name, each]) => [
    name,
    cell(each, 'cpuMs'),
    cell(each, 'wallMs'),
    cell(each, 'rssMiB'),
  ]);
  const load = `load average ${loadavg()[0]?.toFixed(1)} on ${cpus().length} CPUs`;
  process.stdout.write(`From exec to serving; median (range) of ${rounds}; ${load}\n\n`);
  process.stdout.write(`${formatTable([['', 'CPU ms', 'wall ms', 'RSS MiB'], ...rows])}\n`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
