import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';

/** Labs are made in TMPDIR: what is left in a fresh one, or of processes that carry its name, has been left behind. */
let parent = '';
beforeEach(() => {
  parent = mkdtempSync('/tmp/fd-');
});
afterEach(() => rmSync(parent, { recursive: true }));

function leftProcesses(): string[] {
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && pid !== String(process.pid) && mentions(pid));
}

function mentions(pid: string): boolean {
  try {
    // A zombie has neither.
    return ['environ', 'cmdline'].some((file) =>
      readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(`${parent}/ferry-`),
    );
  } catch {
    return false;
  }
}

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  printed(): string;
}

function start(program: string, args: readonly string[], env: Record<string, string> = {}): Running {
  const path = join(import.meta.dirname, program);
  // In a group of its own, so that a test can do what a terminal does at Ctrl-C.
  const child = spawn(process.execPath, [path, ...args], {
    detached: true,
    env: { ...process.env, ...env, TMPDIR: parent },
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (piece: Buffer) => {
      printed += piece.toString();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { child, ended, printed: () => printed };
}

const signalGroup = ({ child }: Running, signal: NodeJS.Signals): boolean => process.kill(-(child.pid ?? 0), signal);

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(10);
}

describe('the demo', () => {
  it('moves a guest and leaves nothing behind', async () => {
    const demo = start('demo.ts', []);
    const status = await demo.ended;
    expect(demo.printed()).toContain('every checksum right');
    expect(demo.printed()).toContain('demo is running on b\n');
    expect(demo.printed()).toMatch(/blackout +[\d.]+ ms from STOP/);
    expect(status).toBe(0);
    expect([leftProcesses(), readdirSync(parent)]).toEqual([[], []]);
  });

  it.each([
    ['while the lab starts', '1  Two hosts', 'SIGINT'],
    ['while the guest starts', 'ferry start', 'SIGINT'],
    ['while memory flows', 'MiB sent', 'SIGINT'],
    ['while memory flows', 'MiB sent', 'SIGTERM'],
  ] as const)('leaves nothing behind when it is interrupted %s (%s, %s)', async (_, moment, signal) => {
    const demo = start('demo.ts', []);
    await until(() => demo.printed().includes(moment));
    if (signal === 'SIGINT') signalGroup(demo, signal);
    else demo.child.kill(signal);
    expect(await demo.ended).toBe(130);
    expect(demo.printed()).toContain('interrupted; everything is cleaned up');
    expect([leftProcesses(), readdirSync(parent)]).toEqual([[], []]);
  });

  it('leaves nothing behind when it is killed', async () => {
    const demo = start('demo.ts', []);
    await until(() => demo.printed().includes('MiB sent'));
    demo.child.kill('SIGKILL');
    await until(() => leftProcesses().length === 0 && readdirSync(parent).length === 0);
  });
});

describe('./dev lab', () => {
  const lab = (...args: string[]) => start('main.ts', args, { FERRY_LAB_FILE: join(parent, 'lab.json') });
  const run = async (...args: string[]) => {
    const running = lab(...args);
    return { status: await running.ended, printed: running.printed() };
  };

  it('goes up, tells what runs, and down', async () => {
    expect((await run('status')).status).toBe(1);
    const up = await run('up', '--hosts', '1');
    expect(up.printed).toMatch(/host a +source agent 127\.0\.0\.1:\d+ +destination agent 127\.0\.0\.1:\d+/);
    expect(up.printed).toContain('buf curl');
    expect(up.status).toBe(0);
    const again = await run('up', '--hosts', '1');
    expect([again.status, again.printed]).toEqual([0, expect.stringContaining('up already')]);
    expect((await run('up', '--hosts', '2')).status).toBe(1);

    const file: unknown = JSON.parse(readFileSync(join(parent, 'lab.json'), 'utf8'));
    expect(file).toMatchObject({ state: 'up', hosts: [{ name: 'a' }] });
    expect((await run('status')).status).toBe(0);
    const [agent] = leftProcesses().filter((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('dest-agent'),
    );
    process.kill(Number(agent), 'SIGKILL');
    const status = await run('status');
    expect(status.printed).toMatch(/a dest +does not run/);
    expect(status.status).toBe(1);

    expect((await run('down')).status).toBe(0);
    expect([leftProcesses(), readdirSync(parent)]).toEqual([[], []]);
    expect((await run('down')).status).toBe(0);
  });

  it('leaves nothing behind when its start is interrupted', async () => {
    const up = lab('up');
    await until(() => leftProcesses().length >= 2);
    signalGroup(up, 'SIGINT');
    expect(await up.ended).toBe(130);
    expect([leftProcesses(), readdirSync(parent)]).toEqual([[], []]);
  });

  it('cleans up after a start that was killed', async () => {
    const up = lab('up');
    await until(() => leftProcesses().length >= 2);
    up.child.kill('SIGKILL');
    await until(() => leftProcesses().length === 0);
    expect((await run('status')).status).toBe(1);
    expect((await run('down')).status).toBe(0);
    expect(existsSync(join(parent, 'lab.json'))).toBe(false);
  });

  it.each([[['sideways']], [['up', '--hosts', '0']], [['up', '--hosts', 'many']], [['up', '--host', '2']], [[]]])(
    'used wrongly: %j',
    async (args) => {
      expect((await run(...args)).status).toBe(2);
      expect(readdirSync(parent)).toEqual([]);
    },
  );
});
