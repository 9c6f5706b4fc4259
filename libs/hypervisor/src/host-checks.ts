/** What must be true of this host before a QEMU is started: the files are there, the memory is there. */
import { constants } from 'node:fs';
import { access, chmod, copyFile, readFile, realpath } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { type Domain, type DomainFile, filesOf, type Networks, networksOf } from '@ferry/domain-xml';
import type { FileRule } from './backing-chains.ts';
import type { QemuBinary } from './binary.ts';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';

/** Files that QEMU makes if they are not there: only their directory must be. */
const madeByQemu: ReadonlySet<DomainFile['use']> = new Set(['chardev-file', 'chardev-socket', 'sound-file']);

/** Where a path really leads, links followed; throws as realpath does. */
async function whereIs(file: DomainFile): Promise<string> {
  if (!madeByQemu.has(file.use) && file.template === undefined) {
    const real = await realpath(file.path);
    await access(real, constants.R_OK | (file.readOnly ? 0 : constants.W_OK));
    return real;
  }
  const dir = await realpath(dirname(file.path));
  await access(dir, constants.W_OK);
  const path = join(dir, basename(file.path));
  return realpath(path).catch(() => path);
}

/** Why a file may not be used by a domain, by its real path: it is not where domains' files may be, or is the agent's own. */
export async function fileRule(allowedRoots: readonly string[], protectedPaths: readonly string[]): Promise<FileRule> {
  const reallyOf = (paths: readonly string[]) => Promise.all(paths.map((path) => realpath(path).catch(() => path)));
  const [roots, own] = await Promise.all([reallyOf(allowedRoots), reallyOf(protectedPaths)]);
  const isBelow = (path: string) => (root: string) =>
    path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
  return (path) => {
    if (!roots.some(isBelow(path))) return 'is outside of FERRY_DOMAIN_PATHS';
    return own.some(isBelow(path)) ? "is the agent's own" : undefined;
  };
}

/** What is wrong with the files that the domain names: one is not here, may not be used, or lies, links followed, where domains' files may not lie. */
export async function fileProblems(domain: Domain, rule: FileRule): Promise<HypervisorError[]> {
  const problems = filesOf(domain).map(async (file): Promise<HypervisorError | undefined> => {
    const named = `${file.use} ${file.path} of domain ${domain.name}`;
    let real: string;
    try {
      real = await whereIs(file);
    } catch (cause) {
      const code = errnoOf(cause) ?? 'unknown';
      const message = `${named} cannot be used on this host (${code}): make it available here, as on the other host`;
      return new HypervisorError('disk-missing', message, { cause });
    }
    const why = rule(real);
    if (why === undefined) return undefined;
    return new HypervisorError('disk-missing', `${named} is really ${real}, which ${why}`);
  });
  return (await Promise.all(problems)).filter((problem) => problem !== undefined);
}

/** Makes what is not there yet from its template: a variable store, which is the guest's from then on. Throws HypervisorError. */
export async function makeFromTemplates(domain: Domain): Promise<void> {
  for (const { path, template } of filesOf(domain)) {
    if (template === undefined) continue;
    try {
      await copyFile(template, path, constants.COPYFILE_EXCL);
      await chmod(path, 0o600);
    } catch (cause) {
      if (errnoOf(cause) === 'EEXIST') continue;
      const message = `${path} of domain ${domain.name} cannot be made from ${template} (${errnoOf(cause) ?? 'unknown'}): make it, or let the agent write there`;
      throw new HypervisorError('disk-missing', message, { cause });
    }
  }
}

/** What is wrong if the host does not have the guest's memory to give. `reserveBytes` must stay free besides. */
export async function memoryProblem(domain: Domain, reserveBytes: number): Promise<HypervisorError | undefined> {
  const line = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'latin1'));
  if (line === null) return undefined; // Kernels since 3.14 have it; on others there is nothing to compare with.
  const available = Number(line[1]) * 1024;
  if (domain.memoryBytes + reserveBytes <= available) return undefined;
  const mib = (bytes: number): string => `${Math.round(bytes / 1024 / 1024)} MiB`;
  return new HypervisorError(
    'not-enough-memory',
    `domain ${domain.name} needs ${mib(domain.memoryBytes)}, this host has ${mib(available)} available, of which ${mib(reserveBytes)} stay reserved: free some, or choose another destination`,
  );
}

/** What is wrong with the networks that the domain names: this host does not know which bridge one is. */
export function networkProblems(domain: Domain, networks: Networks): HypervisorError[] {
  return networksOf(domain)
    .filter(({ network }) => !networks.has(network))
    .map(({ network, path }) => {
      const message = `network ${JSON.stringify(network)} of domain ${domain.name} (${path}) is none of FERRY_NETWORKS of this host: add ${network}=BRIDGE there and start its agents anew, or use <interface type='bridge'>`;
      return new HypervisorError('network-missing', message);
    });
}

/** What is wrong if this host's QEMU lacks the domain's machine. */
export function machineProblem({ machine, name }: Domain, binary: QemuBinary): HypervisorError | undefined {
  if (binary.machines.has(machine)) return undefined;
  return new HypervisorError(
    'machine-unsupported',
    `this host's QEMU lacks the machine type ${machine} of domain ${name}: use a QEMU that has it, or an older machine type`,
  );
}
