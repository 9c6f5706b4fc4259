/** Puts QEMU's threads on the CPUs that a document names; the kernel's own tool does it, as Node has no call for it. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Pinning } from '@ferry/domain-xml';
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

/** Pins the threads that differ from the process as a whole. Throws HypervisorError qemu-start-failed. */
export async function pinThreads(pid: number, pinning: Pinning, domain: string): Promise<void> {
  const same = (cpus: readonly number[] | undefined) => listOf(cpus ?? []) === listOf(pinning.emulator ?? []);
  const wanted = [
    ...pinning.vcpus.map(({ id, cpus }) => ({ name: `CPU ${id}/`, cpus })),
    ...pinning.iothreads.map(({ id, cpus }) => ({ name: `IO iothread${id}`, cpus })),
  ].filter(({ cpus }) => !same(cpus));
  if (wanted.length === 0) return;
  const threads = await threadsOf(pid);
  for (const { name, cpus } of wanted) {
    // The accelerator's name follows a vCPU's number.
    const id = threads.find((thread) => (name.endsWith('/') ? thread.name.startsWith(name) : thread.name === name))?.id;
    const list = cpus === undefined ? await ownCpus() : listOf(cpus);
    try {
      if (id === undefined) throw new Error(`QEMU has no thread ${name}`);
      await run('taskset', ['--pid', '--cpu-list', list, id], { timeout: 5_000 });
    } catch (cause) {
      const message = `thread ${name} of domain ${domain} cannot run on CPUs ${list} of this host: change <cputune>, or choose another host`;
      throw new HypervisorError('qemu-start-failed', message, { cause });
    }
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
