import { execFile } from 'node:child_process';
import { access, copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The two files of Debian's that the guest is made of. */
export interface LinuxFiles {
  readonly kernel: string;
  readonly busybox: string;
}

/**
 * Debian's cloud kernel and its static busybox: those installed on this host, or else those in `cache`, or else
 * downloaded there by apt-get (which needs no root, but package lists: `apt-get update`). Throws an Error that says
 * what is missing and what to install.
 */
export async function linuxFiles(cache: string, signal: AbortSignal): Promise<LinuxFiles> {
  const installed = { kernel: await newestKernel('/boot'), busybox: await staticBusybox('/bin/busybox', signal) };
  await mkdir(cache, { recursive: true });
  const kernel = installed.kernel ?? (await newestKernel(cache)) ?? (await fetched(cache, 'kernel', signal));
  const cached = join(cache, 'busybox');
  const busybox =
    installed.busybox ?? (await staticBusybox(cached, signal)) ?? (await fetched(cache, 'busybox', signal));
  return { kernel, busybox };
}

async function newestKernel(directory: string): Promise<string | undefined> {
  const names = await readdir(directory).catch(() => []);
  const kernels = names.filter((name) => /^vmlinuz-.*cloud-amd64$/.test(name));
  const newest = kernels.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  if (newest === undefined) return undefined;
  // Some systems let only root read the kernel.
  return access(join(directory, newest), 4).then(
    () => join(directory, newest),
    () => undefined,
  );
}

/** A busybox that runs where there is no libc. For a static program ldd says so, in one of two ways, and may fail. */
async function staticBusybox(path: string, signal: AbortSignal): Promise<string | undefined> {
  const says = await run('ldd', [path], { signal }).then(({ stdout }) => stdout, String);
  signal.throwIfAborted();
  return /not a dynamic executable|statically linked/.test(says) ? path : undefined;
}

/** Takes one file out of its package, which apt-get downloads; the file appears in the cache whole or not at all. */
async function fetched(cache: string, what: 'kernel' | 'busybox', signal: AbortSignal): Promise<string> {
  const work = await mkdtemp(join(cache, 'download-'));
  try {
    const name = what === 'kernel' ? await kernelPackage(signal) : 'busybox-static';
    await run('apt-get', ['download', '-q', name], { cwd: work, signal });
    const deb = (await readdir(work)).find((file) => file.endsWith('.deb')) ?? '';
    await run('dpkg', ['-x', deb, 'root'], { cwd: work, signal });
    const found = what === 'kernel' ? await newestKernel(join(work, 'root/boot')) : join(work, 'root/bin/busybox');
    if (found === undefined) throw new Error(`${name} has no cloud kernel`);
    const kept = join(cache, what === 'kernel' ? (found.split('/').at(-1) ?? '') : 'busybox');
    await copyFile(found, join(work, 'whole'));
    await rename(join(work, 'whole'), kept);
    return kept;
  } catch (cause) {
    signal.throwIfAborted();
    const install = 'apt-get update && apt-get install linux-image-cloud-amd64 busybox-static';
    const reason = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
    throw new Error(`no ${what} for a Linux guest (${install}): ${reason}`, { cause });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** linux-image-cloud-amd64 is empty: it depends on the package with the kernel. */
async function kernelPackage(signal: AbortSignal): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', 'linux-image-cloud-amd64'], { signal });
  const name = /Depends: (linux-image-\S+-cloud-amd64)/.exec(stdout)?.[1];
  if (name === undefined) throw new Error('linux-image-cloud-amd64 is in no package list');
  return name;
}
