/** Which process listens on a UNIX socket: the only way to learn the pid of a QEMU that somebody else started (QMP does not tell). */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { identify, type ProcessIdentity } from './qemu-process.ts';

/** Looks through /proc (proc(5), net/unix: column 7 is the inode, 8 the path; flag 00010000 a listening socket). */
export async function listenerOf(socketPath: string): Promise<ProcessIdentity | undefined> {
  const rows = (await readFile('/proc/net/unix', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  const inode = rows.find((row) => row[7] === socketPath && row[3] === '00010000')?.[6];
  if (inode === undefined) return undefined;
  const wanted = `socket:[${inode}]`;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    const links = await Promise.all(fds.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
    if (links.includes(wanted)) return identify(Number(pid));
  }
  return undefined;
}
