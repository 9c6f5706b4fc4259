/** Puts QEMU's threads on the CPUs and into the classes that a document names; the system's tools do it, as Node has no call for it. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Pinning, Scheduling } from '@ferry/domain-xml';
import { HypervisorError } from './errors.ts';

const run = promisify(execFile);
const listOf = (cpus: readonly number[]): string => cpus.join(',');

/** What to run instead of a binary, so that all its threads start on these CPUs; it keeps the pid. */
export function onCpus(
  binary: string,
  args: readonly string[],
  cpus: readonly number[] | undefined,
): [string, string[]] {
  return cpus === undefined ? [binary, [...args]] : ['taskset', ['--cpu-list', listOf(cpus), binary, ...args]];
}

/** CPUs that this process may use, as the kernel writes them (`0-3,8`). */
async function ownCpus(): Promise<string> {
  const status = await readFile('/proc/self/status', 'latin1');
  return /^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? '0';
}

/** Puts each thread where it belongs and into its class. Throws HypervisorError qemu-start-failed. */
export async function placeThreads(pid: number, pinning: Pinning, domain: string): Promise<void> {
  const same = (cpus: readonly number[] | undefined) => listOf(cpus ?? []) === listOf(pinning.emulator ?? []);
  const named = [
    ...pinning.vcpus.map((place) => ({ name: `CPU ${place.id}/`, ...place })),
    ...pinning.iothreads.map((place) => ({ name: `IO iothread${place.id}`, ...place })),
  ];
  const wanted = named.filter(({ cpus, scheduling }) => !same(cpus) || scheduling !== undefined);
  const threads = wanted.length === 0 ? [] : await threadsOf(pid);
  for (const { name, cpus, scheduling } of wanted) {
    // The accelerator's name follows a vCPU's number.
    const thread = threads.find((one) => (name.endsWith('/') ? one.name.startsWith(name) : one.name === name))?.id;
    const list = cpus === undefined ? await ownCpus() : listOf(cpus);
    await told(thread, same(cpus) ? undefined : ['taskset', '--pid', '--cpu-list', list], () => {
      return `thread ${name} of domain ${domain} cannot run on CPUs ${list} of this host: change <cputune>, or choose another host`;
    });
    await schedule(thread, scheduling, `thread ${name} of domain ${domain}`);
  }
  await schedule(String(pid), pinning.emulatorScheduling, `QEMU of domain ${domain}`);
}

const schedule = (thread: string | undefined, scheduling: Scheduling | undefined, what: string): Promise<void> =>
  told(
    thread,
    scheduling && ['chrt', `--${scheduling.scheduler}`, '--pid', String(scheduling.priority ?? 0)],
    () =>
      `${what} cannot be scheduled as ${scheduling?.scheduler} on this host: give the agent's unit CAP_SYS_NICE (LimitRTPRIO), or remove it from <cputune>`,
  );

/** Runs a tool on a thread. Throws HypervisorError qemu-start-failed. */
async function told(
  thread: string | undefined,
  command: readonly string[] | undefined,
  problem: () => string,
): Promise<void> {
  if (command === undefined) return;
  const [program = '', ...args] = command;
  try {
    if (thread === undefined) throw new Error('QEMU has no such thread');
    await run(program, [...args, thread], { timeout: 5_000 });
  } catch (cause) {
    throw new HypervisorError('qemu-start-failed', problem(), { cause });
  }
}

/** A process's threads by the names that QEMU gives them (`-name debug-threads=on`; the kernel keeps 15 characters). */
async function threadsOf(pid: number): Promise<readonly { readonly id: string; readonly name: string }[]> {
  const ids = await readdir(`/proc/${pid}/task`);
  const read = async (id: string) => ({
    id,
    name: (await readFile(`/proc/${pid}/task/${id}/comm`, 'latin1').catch(() => '')).trimEnd(),
  });
  return Promise.all(ids.map(read));
}
