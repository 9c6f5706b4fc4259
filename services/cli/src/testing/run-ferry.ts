/** Runs `ferry` as a process of its own, as people and scripts do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { FakeHost } from './fake-host.ts';

/** What it said, and how it ended. */
export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How it is run. */
export interface RunOptions {
  /** On a terminal of 120 columns; stdout and stderr are one then. */
  readonly terminal?: boolean;
  /** Gets the process, and what it has printed so far, while it runs. */
  readonly during?: (child: ChildProcess, printed: () => string) => Promise<void>;
}

const program = join(import.meta.dirname, '..', 'main.ts');

/** Runs `ferry` with a hosts file of those hosts. */
export async function runFerry(
  hosts: readonly FakeHost[],
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const dir = mkdtempSync(join(tmpdir(), 'ferry-cli-'));
  try {
    const file = join(dir, 'hosts.json');
    writeFileSync(file, JSON.stringify({ hosts: hosts.map(({ name, source, dest }) => ({ name, source, dest })) }));
    return await runWith({ FERRY_HOSTS: file }, args, options);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Likewise with an environment of the test's own. */
export async function runWith(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran> {
  const { terminal = false, during } = options;
  const command = [process.execPath, program, ...args];
  // script(1) gives it a pseudo-terminal; it is in Debian's essential bsdutils.
  const [file = '', ...rest] = terminal
    ? ['script', '-qec', `stty cols 120 rows 40; ${command.join(' ')}`, '/dev/null']
    : command;
  const child = spawn(file, rest, { stdio: 'pipe', env: { ...process.env, ...env, TERM: 'xterm' } });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (piece: Buffer) => {
    out.stdout += piece.toString();
  });
  child.stderr.on('data', (piece: Buffer) => {
    out.stderr += piece.toString();
  });
  child.stdin.end();
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [status] = await Promise.all([closed, during?.(child, () => out.stdout)]);
  return { status, ...out };
}

/** Waits for a condition. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5);
}
