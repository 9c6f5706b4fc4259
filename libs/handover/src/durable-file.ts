/** Small files that are whole, and on the disk, or not there. */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HandoverError } from './errors.ts';

/** Undefined if it is not there. Throws HandoverError journal-unreadable. */
export const readIfAny = (path: string): Promise<string | undefined> =>
  unlessMissing(path, () => readFile(path, 'utf8'));

/** Only a file that is not there is none: whatever else keeps it from being read, it may say something. */
export async function unlessMissing<T>(path: string, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (cause) {
    if (typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'ENOENT') return undefined;
    const message = `${path} cannot be read (${String(cause)}): until it can nothing is decided by it; it is tried again`;
    throw new HandoverError('journal-unreadable', message, { cause });
  }
}

/**
 * A new file beside the old one, synced, then renamed over it, then the directory synced: rename(2) alone may be lost in a crash. One that is not
 * synced may take the place of the old one and be empty after a power failure: the rename is in the file system's log before the data are on the disk.
 * Throws HandoverError journal-unwritable.
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  try {
    await writeAndRename(path, text);
  } catch (cause) {
    const message = `${path} cannot be written (${String(cause)}): what it must say before the migration goes on is not durable`;
    throw new HandoverError('journal-unwritable', `${message}; make room on that file system, or mend it`, { cause });
  }
}

async function writeAndRename(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  await makeDirectory(dirname(path));
  {
    await using file = await open(fresh, 'w', 0o600);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(fresh, path);
  await syncDirectory(dirname(path));
}

/** The directories whose own entries this process has made durable. */
const durable = new Set<string>();

/** A life before may have made directories, and ended before they were durable: the first write syncs those above in any case. */
async function makeDirectory(dir: string): Promise<void> {
  const first = await mkdir(dir, { recursive: true });
  if (first === undefined && durable.has(dir)) return;
  const above = dirname(dirname(dir));
  const last = first !== undefined && dirname(first).length < above.length ? dirname(first) : above;
  for (let at = dirname(dir); at.length >= last.length; at = dirname(at)) {
    await syncDirectory(at);
    if (at === dirname(at)) break;
  }
  durable.add(dir);
}

export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, 'r');
  await directory.sync();
}
