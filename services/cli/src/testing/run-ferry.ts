/** Runs `ferry` as a process of its own, as people and scripts do. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FakeHost } from './fake-host.ts';

/** What it said, and how it ended. */
export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const program = join(import.meta.dirname, '..', 'main.ts');

/** Runs `ferry` with a hosts file of those hosts. `during` gets the process, and what it has printed so far. */
export async function runFerry(
  hosts: readonly FakeHost[],
  args: readonly string[],
  during: (child: ChildProcess, printed: () => string) => Promise<void> = async () => undefined,
): Promise<Ran> {
  const dir = mkdtempSync(join(tmpdir(), 'ferry-cli-'));
  try {
    const file = join(dir, 'hosts.json');
    writeFileSync(file, JSON.stringify({ hosts: hosts.map(({ name, source, dest }) => ({ name, source, dest })) }));
    return await runWith({ FERRY_HOSTS: file }, args, during);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Likewise with an environment of the test's own. */
export function runWith(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  during: (child: ChildProcess, printed: () => string) => Promise<void> = async () => undefined,
): Promise<Ran> {
  const child = spawn(process.execPath, [program, ...args], { stdio: 'pipe', env: { ...process.env, ...env } });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (piece: Buffer) => {
    out.stdout += piece.toString();
  });
  child.stderr.on('data', (piece: Buffer) => {
    out.stderr += piece.toString();
  });
  child.stdin.end();
  const closed = new Promise<Ran>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, ...out }));
  });
  return Promise.all([closed, during(child, () => out.stdout)]).then(([ran]) => ran);
}

/** Waits for a condition. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}
