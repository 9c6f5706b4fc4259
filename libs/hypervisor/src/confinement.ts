/**
 * What is taken from QEMU and swtpm before they are executed: every capability (capabilities(7)) but those that their document needs, and every way to gain
 * others. A guest that has broken out of its QEMU is the agent's user then, and not what the kernel lets root do besides.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Domain, usesTaps } from '@ferry/domain-xml';
import { guestEnvironment } from './environment.ts';

const run = promisify(execFile);

/** Whom QEMU and swtpm run as, if not as the agent's own user. */
export interface QemuUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Images may be another user's, and a port of the host below 1024. */
const roots = ['dac_override'] as const;
const always = ['net_bind_service'] as const;
/** What QEMU's file server does on behalf of the guest's users (hw/9pfs/9p-local.c). */
const fileServer = ['chown', 'fowner', 'fsetid', 'setgid', 'setuid'] as const;

/** By the kernel's names, in lower case and without CAP_. */
export function capabilitiesOf(domain: Domain, user: QemuUser | undefined): readonly string[] {
  const servesFiles = domain.devices.filesystem.some((fs) => 'accessmode' in fs && fs.accessmode === 'passthrough');
  return [
    ...always,
    ...(user === undefined ? roots : []),
    ...(usesTaps(domain) ? ['net_admin'] : []),
    ...(domain.document.memoryBacking?.locked === undefined ? [] : ['ipc_lock']),
    ...(servesFiles && user === undefined ? fileServer : []),
  ];
}

/** How a program is confined. */
export interface Confinement {
  readonly user: QemuUser | undefined;
  /** Whether this agent can take capabilities away. */
  readonly confined: boolean;
}

/** What to run instead of a program, so that it has these capabilities at most, and is that user's; it keeps the pid. */
export function confine(
  program: string,
  args: readonly string[],
  keep: readonly string[],
  { user, confined }: Confinement,
): [string, readonly string[]] {
  if (user === undefined && !confined) return [program, args];
  const kept = ['-all', ...keep.map((name) => `+${name}`)].join(',');
  // Another user than root has only what is handed on to it.
  const rights =
    user === undefined
      ? ['--inh-caps=-all']
      : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--init-groups', `--inh-caps=${kept}`, `--ambient-caps=${kept}`];
  return ['setpriv', [`--bounding-set=${kept}`, ...rights, '--no-new-privs', '--', program, ...args]];
}

/** Whether this agent can take them: it is not root, or has no CAP_SETPCAP. */
export async function canConfine(signal: AbortSignal): Promise<boolean> {
  const [program, args] = confine('true', [], roots, { user: undefined, confined: true });
  const can = await run(program, [...args], { signal, cwd: '/', env: guestEnvironment() }).then(
    () => true,
    () => false,
  );
  signal.throwIfAborted();
  return can;
}
