/** What must be true of this host before a QEMU is started: the files are there, the memory is there. */
import { constants } from 'node:fs';
import { access, readFile, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { filesOf, type Domain } from '@ferry/domain-xml';
import { HypervisorError } from './errors.ts';

/** Checks that every file the domain names is here, may be used, and lies, links followed, where domains' files may lie. */
export async function checkFiles(domain: Domain, allowedRoots: readonly string[]): Promise<void> {
  const roots = await Promise.all(allowedRoots.map((root) => realpath(root).catch(() => root)));
  for (const file of filesOf(domain)) {
    let real: string;
    try {
      real = await realpath(file.path);
      await access(real, constants.R_OK | (file.readOnly ? 0 : constants.W_OK));
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
      throw new HypervisorError(
        'disk-missing',
        `${file.use} ${file.path} of domain ${domain.name} cannot be used on this host (${code}): make it available here, as on the other host`,
        { cause },
      );
    }
    if (!roots.some((root) => real === root || real.startsWith(root.endsWith(sep) ? root : root + sep))) {
      throw new HypervisorError(
        'disk-missing',
        `${file.use} ${file.path} of domain ${domain.name} is really ${real}, which is outside of FERRY_DOMAIN_PATHS`,
      );
    }
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
