/**
 * The keys of one run of a migration's id. They are derived from a secret of this agent's, so that they are kept nowhere: a repeated call is answered with
 * the same key, a later life of the agent has it too, and neither Redis nor a journal does.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Side } from '@ferry/migration';

export interface Run {
  readonly migrationId: string;
  /** The nonce of this run. */
  readonly run: string;
}

export interface RunKeys {
  /** What both QEMUs encrypt the guest's memory with: 64 hexadecimal digits. */
  memory(run: Run): string;
  /** What cookies are proven with: 32 bytes. */
  cookies(run: Run): Buffer;
  /** What answers are kept under that have something to hide: 32 bytes, of every run of a migration's id. */
  replies(migrationId: string): Buffer;
}

const secretBytes = 32;

/** Reads the secret of this side's agent, or makes it: 32 random bytes for this user alone. Throws the errors of the file system. */
export async function openRunKeys(stateDir: string, side: Side): Promise<RunKeys> {
  const path = join(stateDir, `${side}-secret`);
  return runKeysOf((await secretIn(path)) ?? (await makeSecret(path)));
}

export function runKeysOf(secret: Uint8Array): RunKeys {
  const key = (purpose: string, { migrationId, run }: Run): Buffer =>
    createHmac('sha256', secret)
      .update(JSON.stringify([purpose, migrationId, run]))
      .digest();
  return {
    memory: (run) => key('memory', run).toString('hex'),
    cookies: (run) => key('cookies', run),
    replies: (migrationId) => key('replies', { migrationId, run: '' }),
  };
}

async function secretIn(path: string): Promise<Buffer | undefined> {
  try {
    const secret = await readFile(path);
    return secret.length === secretBytes ? secret : undefined;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function makeSecret(path: string): Promise<Buffer> {
  const fresh = `${path}.${process.pid}`;
  const secret = randomBytes(secretBytes);
  try {
    await rm(path, { force: true });
    await writeFile(fresh, secret, { mode: 0o600, flag: 'wx', flush: true });
    await link(fresh, path);
  } finally {
    await rm(fresh, { force: true });
  }
  return secret;
}
