import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzip } from 'node:zlib';
import { promisify } from 'node:util';
import { NUMBERS_FIRST } from './counter.ts';
import { type CpioEntry, cpioArchive } from './cpio.ts';
import { linuxFiles } from './packages.ts';

/** What QEMU boots: a domain's `<kernel>`, `<initrd>` and `<cmdline>`. */
export interface LinuxGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** Console on the first serial port, no chatter. */
  readonly cmdline: string;
}

const APPLETS = ['sh', 'mount', 'seq', 'sha256sum', 'sleep'];
const CMDLINE = 'console=ttyS0 quiet loglevel=1 panic=1';

/**
 * Builds a real Linux guest from Debian's cloud kernel and busybox (see linuxFiles) in `directory`, or says why it
 * can't: a test is then skipped with that message. It needs 128 MiB and writes lines that verifyCounter checks.
 */
export async function linuxGuest(
  directory: string,
  signal: AbortSignal,
): Promise<LinuxGuest | { readonly missing: string }> {
  await mkdir(directory, { recursive: true });
  try {
    const { kernel, busybox } = await linuxFiles(directory, signal);
    const initrd = join(directory, 'initrd.gz');
    const unfinished = `${initrd}.${process.pid}.${performance.now()}`;
    await writeFile(unfinished, await promisify(gzip)(cpioArchive(await contents(busybox)), { level: 1 }));
    await rename(unfinished, initrd);
    return { kernel, initrd, cmdline: CMDLINE };
  } catch (error) {
    signal.throwIfAborted();
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

/** The first file system: busybox, our init, and the console that the kernel opens for it. */
async function contents(busybox: string): Promise<CpioEntry[]> {
  const init = await readFile(join(import.meta.dirname, 'init.sh'), 'utf8');
  const directories = ['bin', 'dev', 'mem', 'proc'].map((path): CpioEntry => ({ path, kind: 'directory' }));
  const links = APPLETS.map((name): CpioEntry => ({ path: `bin/${name}`, kind: 'link', target: 'busybox' }));
  const script = Buffer.from(init.replace('@FIRST@', String(NUMBERS_FIRST)));
  return [
    ...directories,
    { path: 'dev/console', kind: 'device', major: 5, minor: 1 },
    { path: 'bin/busybox', kind: 'file', mode: 0o755, content: await readFile(busybox) },
    ...links,
    { path: 'init', kind: 'file', mode: 0o755, content: script },
  ];
}
