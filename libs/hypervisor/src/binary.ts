/** What this host's QEMU binary can do, asked once when the agent starts. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { canConfine } from './confinement.ts';
import { HypervisorError } from './errors.ts';

const exec = promisify(execFile);

export interface QemuBinary {
  readonly path: string;
  /** The versioned machine types, and what each alias stands for ('q35' → 'pc-q35-7.2'). */
  readonly machines: ReadonlySet<string>;
  readonly machineAliases: Readonly<Record<string, string>>;
  /** Whether it was built with seccomp. */
  readonly sandbox: boolean;
  /** Whether capabilities can be taken from it. */
  readonly confined: boolean;
}

/** What a guest that breaks out of this QEMU meets less of than it should, for people. */
export function weaknessesOf({ path, sandbox, confined }: QemuBinary): readonly string[] {
  return [
    ...(sandbox
      ? []
      : [
          `${path} was built without seccomp: a guest that breaks out of it may make every system call; install a build with it`,
        ]),
    ...(confined
      ? []
      : [
          'capabilities cannot be taken from QEMUs (setpriv of util-linux, and CAP_SETPCAP): a guest that breaks out has those of this agent; run it as root, or as a user without any',
        ]),
  ];
}

/** Asks the binary at `path`. Throws HypervisorError qemu-start-failed. */
export async function askBinary(path: string, signal: AbortSignal): Promise<QemuBinary> {
  let list: string;
  try {
    ({ stdout: list } = await exec(path, ['-machine', 'help'], { signal, encoding: 'utf8' }));
  } catch (cause) {
    signal.throwIfAborted();
    throw new HypervisorError('qemu-start-failed', `${path} cannot be run: install QEMU or set FERRY_QEMU`, { cause });
  }
  const machines = new Set<string>();
  const machineAliases: Record<string, string> = {};
  for (const line of list.split('\n')) {
    const name = /^(\S+)\s/.exec(line)?.[1];
    if (name === undefined || name === 'Supported') continue;
    const target = /\(alias of (\S+)\)/.exec(line)?.[1];
    if (target === undefined) machines.add(name);
    else machineAliases[name] = target;
  }
  // A build without seccomp refuses the option while it reads the command line (softmmu/vl.c).
  const sandbox = await exec(path, ['-sandbox', 'on', '-version'], { signal }).then(
    () => true,
    () => false,
  );
  signal.throwIfAborted();
  return { path, machines, machineAliases, sandbox, confined: await canConfine(signal) };
}
