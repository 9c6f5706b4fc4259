import { execFile } from 'node:child_process';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GuestError } from './errors.ts';

const SOURCE = join(import.meta.dirname, 'guest.asm');
const ROM = join(import.meta.dirname, '../build/guest.rom');

/**
 * Assembles the guest's ROM with nasm unless it is newer than its source, and returns its path. Safe to call from
 * several processes at once: a ROM appears whole or not at all. Throws GuestError `build-failed`.
 */
export async function buildGuest(signal?: AbortSignal): Promise<string> {
  const [source, rom] = await Promise.all([changedMs(SOURCE), changedMs(ROM)]);
  if (rom > source) return ROM;
  await mkdir(join(ROM, '..'), { recursive: true });
  const unfinished = `${ROM}.${process.pid}.${performance.now()}`;
  try {
    await promisify(execFile)('nasm', ['-f', 'bin', '-Wall', '-Werror', '-o', unfinished, SOURCE], { signal });
    await rename(unfinished, ROM);
  } catch (cause) {
    signal?.throwIfAborted();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new GuestError('build-failed', `nasm (Debian: apt-get install nasm) did not assemble the guest: ${reason}`, {
      cause,
    });
  } finally {
    await rm(unfinished, { force: true });
  }
  return ROM;
}

/** When a file was last written, in ms since 1970; 0 if there is none. */
const changedMs = async (path: string): Promise<number> => (await stat(path).catch(() => undefined))?.mtimeMs ?? 0;

if (import.meta.main) console.log(await buildGuest());
