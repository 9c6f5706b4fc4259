/** What must be true of this host before a QEMU is started: the files are there, the memory is there. */
import { open, readFile, realpath } from 'node:fs/promises';
import { sep } from 'node:path';
import { type Domain, filesOf, type Networks, networksOf } from '@ferry/domain-xml';
import type { FileRule } from './backing-chains.ts';
import type { QemuBinary } from './binary.ts';
import type { QemuUser } from './confinement.ts';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';

/** Why a file may not be used by a domain, by its real path: it is not where domains' files may be, or is the agent's own. */
export async function fileRule(allowedRoots: readonly string[], protectedPaths: readonly string[]): Promise<FileRule> {
  const reallyOf = (paths: readonly string[]) => Promise.all(paths.map((path) => realpath(path).catch(() => path)));
  const [roots, own] = await Promise.all([reallyOf(allowedRoots), reallyOf(protectedPaths)]);
  const isBelow = (path: string) => (root: string) =>
    path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
  return (path) => {
    // A whole directory of FERRY_DOMAIN_PATHS is no domain's: all others have their files there.
    if (!roots.some((root) => path !== root && isBelow(path)(root))) return 'is outside of FERRY_DOMAIN_PATHS';
    return own.some(isBelow(path)) ? "is the agent's own" : undefined;
  };
}

/** Makes what is not there yet from its template: a variable store, which is the guest's from then on. Throws HypervisorError. */
export async function makeFromTemplates(domain: Domain, user: QemuUser | undefined): Promise<void> {
  for (const { path, template } of filesOf(domain)) {
    if (template === undefined) continue;
    try {
      const bytes = await readFile(template);
      await using made = await open(path, 'wx', 0o600);
      await made.writeFile(bytes);
      // By its descriptor: the name may be another file's by now.
      if (user !== undefined) await made.chown(user.uid, user.gid);
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

const vendors = { Intel: 'GenuineIntel', AMD: 'AuthenticAMD', Hygon: 'HygonGenuine' } as const;

/** What is wrong if a guest that runs on the host's own processor wants one of another maker (virCPUx86Compute). `cpuInfo` is Linux's text. */
export function vendorProblem({ name, document: { type, cpu } }: Domain, cpuInfo: string): HypervisorError | undefined {
  const wanted = cpu?.mode === 'custom' ? cpu.vendor : undefined;
  if (wanted === undefined || type !== 'kvm') return undefined;
  const here = /^vendor_id\s*:\s*(\S+)/m.exec(cpuInfo)?.[1];
  if (here === vendors[wanted]) return undefined;
  return new HypervisorError(
    'cpu-unsupported',
    `domain ${name} wants a processor of ${wanted} (/domain/cpu/vendor), this host's is ${here ?? 'of no known maker'}: choose a host that has one, or remove <vendor>`,
  );
}

/** What is wrong if this host's QEMU lacks the domain's machine. */
export function machineProblem({ machine, name }: Domain, binary: QemuBinary): HypervisorError | undefined {
  if (binary.machines.has(machine)) return undefined;
  return new HypervisorError(
    'machine-unsupported',
    `this host's QEMU lacks the machine type ${machine} of domain ${name}: use a QEMU that has it, or an older machine type`,
  );
}
