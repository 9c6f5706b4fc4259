/**
 * The key that a migration's memory is encrypted with. It is derived from a secret of this host, so that it is kept nowhere: a repeated Prepare is
 * answered with the same key, and neither Redis nor a journal has it.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { link, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Codec } from '@ferry/agent';
import { restoreMemoryKey, withoutMemoryKey } from '@ferry/migration';
import { PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';

export interface MemoryKeys {
  /** 64 hexadecimal digits; another one for each run of a migration's id. */
  of(run: { readonly migrationId: string; readonly run: string }): string;
}

const secretBytes = 32;

/** Reads this host's secret, or makes it: 32 random bytes for this user alone. Throws the errors of the file system. */
export async function openMemoryKeys(stateDir: string): Promise<MemoryKeys> {
  const path = join(stateDir, 'memory-secret');
  const secret = (await secretIn(path)) ?? (await makeSecret(path));
  return {
    of: ({ migrationId, run }) =>
      createHmac('sha256', secret)
        .update(JSON.stringify(['memory', migrationId, run]))
        .digest('hex'),
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

/** How Prepare's answer is kept: without the key. */
export const prepareCodec = (keys: MemoryKeys): Codec<PrepareResponse> => ({
  encode: (response) =>
    PrepareResponse.encode({ ...response, cookieOut: Buffer.from(withoutMemoryKey(response.cookieOut)) }),
  decode: (bytes) => {
    const response = PrepareResponse.decode(bytes);
    return {
      ...response,
      cookieOut: Buffer.from(restoreMemoryKey(response.cookieOut, (cookie) => keys.of(cookie))),
    };
  },
});
