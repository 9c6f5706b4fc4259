/** The directory of UNIX sockets that memory flows through: nobody but us writes there, so that what was looked up there stays so. */
import { existsSync } from 'node:fs';
import { lstat, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { QemuUser } from './confinement.ts';
import { errnoOf } from './errno.ts';
import { makeOwn } from './qemu-user.ts';

/** Why QEMU must not listen at this path: it would unlink what is there (util/qemu-sockets.c, unix_listen_saddr). Makes the directory. */
export async function newSocketProblem(path: string, user: QemuUser | undefined): Promise<string | undefined> {
  const directory = dirname(path);
  if (user !== undefined && !existsSync(directory)) await makeOwn(directory, user);
  else await mkdir(directory, { recursive: true, mode: 0o700 });
  const { uid, mode } = await stat(directory);
  const [owner, whose] =
    user === undefined ? [process.geteuid?.(), "the agent's user"] : [user.uid, `user ${user.name}`];
  if (uid !== owner || (mode & 0o022) !== 0)
    return `${directory} may be written by others, or not by QEMU: give it to ${whose} alone, mode 0700`;
  return (await kindOf(path)) === 'absent' ? undefined : 'something is there already: choose another name';
}

/** Why QEMU must not send there: only a socket that a destination, or a tunnel to one, listens on takes a guest's memory. */
export async function socketMissing(path: string): Promise<string | undefined> {
  const kind = await kindOf(path);
  if (kind === 'socket') return undefined;
  return kind === 'absent' ? 'there is no socket' : 'this is no socket';
}

async function kindOf(path: string): Promise<'absent' | 'socket' | 'other'> {
  try {
    return (await lstat(path)).isSocket() ? 'socket' : 'other';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'absent';
    throw error;
  }
}
