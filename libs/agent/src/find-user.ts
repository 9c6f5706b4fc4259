/** The user of the system that FERRY_QEMU_USER names. */
import { execFileSync } from 'node:child_process';
import type { QemuUser } from '@ferry/hypervisor';

/** Throws an error that says why QEMU cannot run as that user. */
export function findUser(name: string): QemuUser {
  if (process.geteuid?.() !== 0) throw new Error('only an agent that runs as root can start QEMU as another user');
  let entry: string;
  try {
    // Whatever the host knows its users by (nsswitch.conf).
    entry = execFileSync('getent', ['passwd', '--', name], { encoding: 'utf8', timeout: 5_000 });
  } catch (cause) {
    throw new Error(`this host has no user ${JSON.stringify(name)}: make it (adduser --system --group)`, { cause });
  }
  const [known = '', , uid, gid] = entry.split(':');
  if (Number(uid) === 0) throw new Error('must not be root');
  return { name: known, uid: Number(uid), gid: Number(gid) };
}
