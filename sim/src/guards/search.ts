/** For each guard: the schedule in which its absence shows, the test that fails without it, or why it is assumed. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import type { Found, Tally } from '../tally.ts';
import type { Guard, Shown } from './guard.ts';
import { guards } from './list.ts';

export interface SearchOptions {
  readonly first: number;
  /** For each guard, at most. */
  readonly schedules: number;
  /** Begins at the seed that is known to find it, and runs no tests. */
  readonly known: boolean;
  /** Guards at once. */
  readonly workers: number;
  readonly say: (line: string) => void;
}

const root = join(import.meta.dirname, '../../..');
/** A thread ends after so many schedules: what waits in lives that were killed is freed only with it. */
const perThread = 5_000;
/** Rules about what becomes of the guest come first: where only a step of the register or a journal shows it, the guest may have been lucky. */
const ways = { outcomes: ['--outcomes-only'], all: [] } as const;

/** Gives the exit status: 0 if every guard's accident was found. */
export async function searchGuards(options: SearchOptions): Promise<number> {
  const waiting = guards.values();
  let missed = 0;
  const next = async (): Promise<void> => {
    for (const guard of waiting) {
      const found = await shown(guard, options);
      if (found === undefined) missed += 1;
      options.say(`${guard.name.padEnd(24)} ${found ?? `NOT FOUND: ${guard.about}`}`);
    }
  };
  await Promise.all(Array.from({ length: options.workers }, next));
  return missed === 0 ? 0 : 1;
}

function shown(guard: Guard, options: SearchOptions): Promise<string | undefined> {
  const { shownBy } = guard;
  switch (shownBy.by) {
    case 'schedule':
      return bySchedule(guard, shownBy, options);
    case 'test':
      return byTest(guard, shownBy, options.known);
    case 'assumption':
      return Promise.resolve(`assumed: ${shownBy.why}`);
  }
}

async function bySchedule(
  guard: Guard,
  { seed, rules, kinds }: Extract<Shown, { by: 'schedule' }>,
  options: SearchOptions,
): Promise<string | undefined> {
  const first = options.known ? seed : options.first;
  const tried: readonly (keyof typeof ways)[] = options.known ? [rules] : ['outcomes', 'all'];
  for (const way of tried) {
    const argv = [...ways[way], ...(kinds === undefined ? [] : ['--kinds', kinds])];
    const found = await search(guard, argv, first, options.schedules);
    if (found === undefined) continue;
    const [message] = found.message.split('\n');
    return `seed ${found.seed}, schedule ${found.seed - first + 1}${way === 'all' ? ', by a step' : ''}: ${message}`;
  }
  return undefined;
}

async function search(
  { name }: Guard,
  way: readonly string[],
  first: number,
  schedules: number,
): Promise<Found | undefined> {
  for (let next = first; next < first + schedules; ) {
    const count = Math.min(perThread, first + schedules - next);
    const found = await thread(['--guard-removed', name, '--until-broken', ...way, ...seeds(next, count)]);
    // What breaks with all guards there says nothing of this one.
    if (found !== undefined && (await thread(['--until-broken', ...way, ...seeds(found.seed, 1)])) === undefined)
      return found;
    next = found === undefined ? next + count : found.seed + 1;
  }
  return undefined;
}

const seeds = (first: number, count: number): string[] => ['--first', String(first), '--schedules', String(count)];

function thread(argv: string[]): Promise<Found | undefined> {
  const worker = new Worker(new URL('../main.ts', import.meta.url), { argv, stdout: true });
  let found: Found | undefined;
  worker.on('message', (tally: Tally) => {
    found = tally.found;
  });
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => resolve(found));
  });
}

/** The test is there; and it fails without the guard, which is tried unless what is known is enough. */
async function byTest(
  { name }: Guard,
  { file, test }: Extract<Shown, { by: 'test' }>,
  known: boolean,
): Promise<string | undefined> {
  if (!readFileSync(join(root, file), 'utf8').includes(test)) return undefined;
  if (known) return `${file}: ${test}`;
  const pattern = test.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const jest = ['--experimental-vm-modules', '--import', join(import.meta.dirname, 'preload.ts')];
  const argv = [...jest, join(root, 'node_modules/jest/bin/jest.js'), '-i', file, '-t', pattern];
  const env = { ...process.env, FERRY_GUARD_REMOVED: name, NODE_NO_WARNINGS: '1' };
  const child = spawn(process.execPath, argv, { cwd: root, env, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  const said = await text(child.stderr);
  return (await ended) === 1 && /Tests: +[1-9]\d* failed/.test(said) ? `${file} fails: ${test}` : undefined;
}
