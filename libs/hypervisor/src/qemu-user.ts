/** The user that QEMU and swtpm run as, where the host's configuration names one: it has its own files, and what it is given of a guest's. */
import { execFile } from 'node:child_process';
import { chmod, chown, lchown, lstat, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type Domain, filesOf } from '@ferry/domain-xml';
import { confine, type QemuUser } from './confinement.ts';
import { guestEnvironment } from './environment.ts';
import { HypervisorError } from './errors.ts';

const run = promisify(execFile);

/** Others may pass through, and neither list nor write. */
const passage = 0o711;
const probeMs = 10_000;

/** Makes a directory through which the user gets to its own. */
export async function makePassage(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: passage });
  await chmod(directory, passage);
}

/** Makes a directory of the user's own in one that it cannot write to; what an earlier agent's root has left in it is the user's then. */
export async function makeOwn(directory: string, { uid, gid }: QemuUser): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  if ((await lstat(directory)).uid === uid) return;
  for (const name of await readdir(directory)) await lchown(join(directory, name), uid, gid);
  await chown(directory, uid, gid);
}

/**
 * What the user may not read or write of a domain's files; the kernel decides, asked as that user. A file that QEMU makes itself needs a directory that the
 * user may write to. Throws what keeps the question from being asked.
 */
export async function accessProblems(domain: Domain, user: QemuUser): Promise<HypervisorError[]> {
  const asked = filesOf(domain).flatMap(({ path, expects, readOnly, template, use }) => {
    if (use === 'shared-memory') return [];
    // Made by the agent, and given to the user then.
    if (template !== undefined) return [];
    return [{ path, readOnly, isMade: expects.includes('absent') }];
  });
  if (asked.length === 0) return [];
  const words = asked.flatMap(({ path, readOnly, isMade }) => [
    isMade ? 'm' : readOnly ? 'r' : 'w',
    path,
    dirname(path),
  ]);
  const [program, args] = confine('/bin/sh', ['-c', probe, 'sh', ...words], [], { user, confined: true });
  const { stdout } = await run(program, [...args], { timeout: probeMs, cwd: '/', env: guestEnvironment() });
  const refused = new Set(
    stdout
      .split('\n')
      .filter((line) => line !== '')
      .map(Number),
  );
  return asked.flatMap(({ path, readOnly, isMade }, i) =>
    refused.has(i)
      ? [
          new HypervisorError(
            'file-refused',
            `${path} of domain ${domain.name} is not QEMU’s to ${isMade ? 'make' : readOnly ? 'read' : 'read and write'}: user ${user.name} (FERRY_QEMU_USER) needs access; chown or chmod ${isMade ? 'its directory' : 'it'}`,
          ),
        ]
      : [],
  );
}

/** Prints the numbers of those that fail: what is asked, the path, its directory, over and over. */
const probe = `i=0
while [ $# -gt 0 ]; do
  if [ "$1" = m ] && [ ! -e "$2" ]; then [ -w "$3" ] && [ -x "$3" ] || echo $i
  elif [ "$1" = r ]; then [ -r "$2" ] || echo $i
  else [ -r "$2" ] && [ -w "$2" ] || echo $i; fi
  i=$((i+1)); shift 3
done`;
