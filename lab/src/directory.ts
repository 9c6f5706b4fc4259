/** Where a lab keeps everything it has. */
import { randomBytes } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

/** Where labs are made: short, because a UNIX socket's path has at most 107 bytes. */
export function labParent(): string {
  return realpathSync(tmpdir().length <= 24 ? tmpdir() : '/tmp');
}

/** A name for a new lab's directory; not made yet. */
export function newLabDirectory(): string {
  return join(labParent(), `ferry-${randomBytes(4).toString('hex')}`);
}

/** Throws unless `dir` is (or may have been) a lab's directory: it may come from a file that somebody edited, and will be removed. */
export async function refuseOtherDirectories(dir: string): Promise<void> {
  const ours = /^ferry-[0-9a-f]{8}$/.test(basename(dir)) && dirname(dir) === labParent();
  const found = await lstat(dir).catch(() => undefined);
  if (!ours || (found !== undefined && !found.isDirectory())) throw new Error(`${dir} is not the directory of a lab`);
}
