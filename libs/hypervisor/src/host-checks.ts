/** What must be true of this host before a QEMU is started: the files are there, the memory is there. */
import { constants } from 'node:fs';
import { access, readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { type Domain, type DomainFile, filesOf } from '@ferry/domain-xml';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';

/** Files that QEMU makes if they are not there: only their directory must be. */
const madeByQemu: ReadonlySet<DomainFile['use']> = new Set(['chardev-file', 'chardev-socket']);

/** Where a path really leads, links followed; throws as realpath does. */
async function whereIs(file: DomainFile): Promise<string> {
  if (!madeByQemu.has(file.use)) {
    const real = await realpath(file.path);
    await access(real, constants.R_OK | (file.readOnly ? 0 : constants.W_OK));
    return real;
  }
  const dir = await realpath(dirname(file.path));
  await access(dir, constants.W_OK);
  const path = join(dir, basename(file.path));
  return realpath(path).catch(() => path);
}

/** Checks that every file the domain names is here, may be used, and lies, links followed, where domains' files may lie. */
export async function checkFiles(domain: Domain, allowedRoots: readonly string[]): Promise<void> {
  const roots = await Promise.all(allowedRoots.map((root) => realpath(root).catch(() => root)));
  const inside = (path: string): boolean =>
    roots.some((root) => path === root || path.startsWith(root.endsWith(sep) ? root : root + sep));
  for (const file of filesOf(domain)) {
    const named = `${file.use} ${file.path} of domain ${domain.name}`;
    const real = await whereIs(file).catch((cause: unknown) => {
      const code = errnoOf(cause) ?? 'unknown';
      const message = `${named} cannot be used on this host (${code}): make it available here, as on the other host`;
      throw new HypervisorError('disk-missing', message, { cause });
    });
    if (inside(real)) continue;
    throw new HypervisorError('disk-missing', `${named} is really ${real}, which is outside of FERRY_DOMAIN_PATHS`);
  }
}

/** Checks that the host has the guest's memory to give. `reserveBytes` must stay free besides. */
export async function checkMemory(domain: Domain, reserveBytes: number): Promise<void> {
  const line = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'latin1'));
  if (line === null) return; // Kernels since 3.14 have it; on others there is nothing to compare with.
  const available = Number(line[1]) * 1024;
  if (domain.memoryBytes + reserveBytes > available) {
    const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
    throw new HypervisorError(
      'not-enough-memory',
      `domain ${domain.name} needs ${mib(domain.memoryBytes)}, this host has ${mib(available)} available, of which ${mib(reserveBytes)} stay reserved: free some, or choose another destination`,
    );
  }
}
