/** What this host says to a domain before anything is started. */
import { accessSync, constants } from 'node:fs';
import { readFile } from 'node:fs/promises';
import {
  completeDomain,
  type Domain,
  isLocked,
  migrationHazards,
  type Networks,
  parseDomain,
  type XmlPolicy,
  type XmlProblem,
} from '@ferry/domain-xml';
import { type FileRule, imageProblems, withBackingChains } from './backing-chains.ts';
import type { QemuBinary } from './binary.ts';
import { askCpus, type CpuOffer, type MissingFeatures, missingFeatures } from './cpu.ts';
import { HypervisorError } from './errors.ts';
import { DocumentReader } from './document-reader.ts';
import { exposureProblems } from './exposure.ts';
import { fileProblems } from './file-checks.ts';
import { fileRule, machineProblem, memoryProblem, networkProblems, vendorProblem } from './host-checks.ts';
import { hostWishNotes, hostWishProblems } from './host-wishes.ts';
import { KnownFiles } from './known-files.ts';
import { listeningHere, listenProblems } from './listen-addresses.ts';
import { labelNotes, type SecurityDriver, securityDrivers, unappliedLabels } from './security-labels.ts';
import type { QemuUser } from './confinement.ts';
import { accessProblems } from './qemu-user.ts';
import { localDisks } from './storage.ts';

interface AdmissionOptions {
  readonly stateDir: string;
  readonly policy: XmlPolicy;
  readonly memoryReserveBytes: number;
  readonly protectedPaths?: readonly string[];
  readonly user?: QemuUser | undefined;
  readonly sharedPaths?: readonly string[];
  /** What documents may do on this host that opens it. */
  readonly allowed?: ReadonlySet<string>;
  /** Which bridges of this host are networks. */
  readonly networks?: Networks;
  /** What confines processes by labels here; what the kernel says if not given. */
  readonly securityDrivers?: ReadonlySet<SecurityDriver>;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #binary: QemuBinary;
  readonly #known: KnownFiles;
  readonly #reader = new DocumentReader();
  /** By accelerator: asked once, when first needed. */
  readonly #cpus = new Map<string, Promise<CpuOffer>>();

  constructor(options: AdmissionOptions, binary: QemuBinary) {
    this.#options = options;
    this.#binary = binary;
    this.#known = new KnownFiles(options.stateDir);
  }

  /** Reads a document as this host would build it: defaults, addresses and the machine type's version filled in. Throws DomainXmlError. */
  read(xml: string): Domain {
    return this.#read(xml, this.#options.policy);
  }

  /** Likewise, of a document that a caller has given, beside the event loop. Throws DomainXmlError, the signal's reason. */
  readGiven(xml: string, signal: AbortSignal): Promise<Domain> {
    return this.#readBeside(xml, this.#options.policy, signal);
  }

  /** Likewise, of a document for another host: whether its files may be where they are is for that host to say. */
  readForElsewhere(xml: string, signal: AbortSignal): Promise<Domain> {
    return this.#readBeside(xml, { ...this.#options.policy, allowedRoots: ['/'] }, signal);
  }

  #readBeside(xml: string, policy: XmlPolicy, signal: AbortSignal): Promise<Domain> {
    return this.#reader.read({ xml, policy, machineAliases: this.#binary.machineAliases }, signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#reader[Symbol.asyncDispose]();
  }

  #read(xml: string, policy: XmlPolicy): Domain {
    return completeDomain(parseDomain(xml, policy), { machineAliases: this.#binary.machineAliases });
  }

  /** What keeps this host from running the domain: machine, files, networks, memory. Its CPU is asked for apart, for it depends on where the guest comes from. */
  async problems(domain: Domain): Promise<HypervisorError[]> {
    const { memoryReserveBytes, networks = new Map(), allowed = new Set() } = this.#options;
    const rule = await this.#fileRule();
    const { user } = this.#options;
    const [files, refused, images, memory, exposed] = await Promise.all([
      fileProblems(domain, rule, this.#known),
      user === undefined ? [] : accessProblems(domain, user),
      imageProblems(domain, rule),
      memoryProblem(domain, memoryReserveBytes),
      this.#labels(domain).then((labels) => exposureProblems(domain, allowed, labels)),
    ]);
    const machine = [
      machineProblem(domain, this.#binary),
      vendorProblem(domain, await readFile('/proc/cpuinfo', 'latin1')),
    ];
    const others = [
      ...exposed,
      ...hostWishProblems(domain, allowed),
      ...networkProblems(domain, networks),
      ...listenProblems(domain, networks),
      memory,
      ...machine,
    ];
    return [...files, ...(files.length === 0 ? refused : []), ...images, ...others].filter(
      (problem) => problem !== undefined,
    );
  }

  /** What the document asks for and does not get on this host, though nothing keeps it from running: said once, where it is started. */
  async notes(domain: Domain): Promise<XmlProblem[]> {
    const { allowed = new Set() } = this.#options;
    return [...labelNotes(await this.#labels(domain)), ...hostWishNotes(domain, allowed), ...lockedDisplays(domain)];
  }

  async #labels(domain: Domain) {
    return unappliedLabels(domain, this.#options.securityDrivers ?? (await securityDrivers()));
  }

  /** The domain as QEMU is told it: with all that is below its images named, and addresses of networks. Throws HypervisorError file-refused, disk-missing. */
  async asTold(domain: Domain): Promise<Domain> {
    const here = listeningHere(domain, this.#options.networks ?? new Map());
    return withBackingChains(here, await this.#fileRule());
  }

  #fileRule(): Promise<FileRule> {
    return fileRule(this.#options.policy.allowedRoots, this.#options.protectedPaths ?? []);
  }

  /** Asks QEMU for its CPUs now, so that the answer is there when a guest comes. What it says, also that it fails, is for later. */
  warmUp(): void {
    const accelerators = canUse('/dev/kvm') ? (['kvm', 'qemu'] as const) : (['qemu'] as const);
    for (const accelerator of accelerators) this.#offer(accelerator).catch(() => undefined);
  }

  /** What the domain's CPU would lack here. Throws HypervisorError qemu-start-failed if QEMU cannot be asked, for instance without KVM. */
  async missingFeatures(domain: Domain, signal: AbortSignal): Promise<MissingFeatures> {
    return missingFeatures(domain, await orAborted(this.#offer(domain.document.type), signal));
  }

  #offer(accelerator: Domain['document']['type']): Promise<CpuOffer> {
    const known = this.#cpus.get(accelerator);
    if (known !== undefined) return known;
    const asked = askCpus(this.#binary, accelerator);
    this.#cpus.set(accelerator, asked);
    // What could not be asked now may be asked again: somebody may have given us /dev/kvm meanwhile.
    asked.catch(() => this.#cpus.delete(accelerator));
    return asked;
  }

  /**
   * For a domain that is to be started: what it asks for by name must be there; the rest of its model too, unless its document leaves that
   * unchecked (`check='none'`, libvirt's default without KVM).
   */
  async cpuProblem(domain: Domain, signal: AbortSignal): Promise<HypervisorError | undefined> {
    const { required, ofModel } = await this.missingFeatures(domain, signal);
    const unchecked = (domain.document.cpu?.check ?? 'none') === 'none';
    return lacking(domain, unchecked ? required : [...required, ...ofModel]);
  }

  /**
   * For a guest that comes from another host: it must not lose what it has. `missingThere` is what its model lacks on that host as well;
   * undefined: nobody has told, so it is taken to have all of it.
   */
  async incomingCpuProblem(
    domain: Domain,
    missingThere: readonly string[] | undefined,
    signal: AbortSignal,
  ): Promise<HypervisorError | undefined> {
    const { required, ofModel } = await this.missingFeatures(domain, signal);
    const missing = [...required, ...ofModel].filter((name) => missingThere?.includes(name) !== true);
    return lacking(domain, missing, missingThere === undefined ? ' (protocol v3 tells what it lacks already)' : '');
  }

  /** What makes it unsafe to move the domain from this host, although it could be done. */
  async hazards(domain: Domain): Promise<XmlProblem[]> {
    const local = await localDisks(domain, this.#options.sharedPaths ?? []);
    return [
      ...migrationHazards(domain),
      ...local.map(({ path, fileSystem }) => ({
        path: diskPath(domain, path),
        line: 0,
        what: `${path} is on ${fileSystem}, a file system of this host's own`,
        hint: 'Put it on storage that both hosts see; if they do, name its directory in FERRY_SHARED_PATHS',
      })),
    ];
  }
}

function lockedDisplays({ devices: { graphics } }: Domain): XmlProblem[] {
  return graphics.flatMap((display, i) => {
    if (!isLocked(display)) return [];
    const path = `/domain/devices/graphics${graphics.length === 1 ? '' : `[${i + 1}]`}/@passwd`;
    const what = 'the document does not tell the password, so no client gets in';
    return [{ path, line: 0, what, hint: 'virsh dumpxml --security-info shows what libvirt has' }];
  });
}

function canUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function lacking(domain: Domain, missing: readonly string[], more = ''): HypervisorError | undefined {
  if (missing.length === 0) return undefined;
  const { cpu } = domain.document;
  const name = (cpu?.mode === 'custom' ? cpu.model?.name : cpu?.mode) ?? 'default';
  return new HypervisorError(
    'cpu-unsupported',
    `this host's QEMU cannot give domain ${domain.name} its ${name} CPU: missing ${missing.join(', ')}; choose a host that has them, or a CPU model without${more}`,
  );
}

/** As it is counted in a document: `/domain/devices/disk[2]`. */
function diskPath({ devices }: Domain, file: string): string {
  const at = devices.disk.findIndex((disk) => disk.type === 'file' && disk.source?.file === file);
  return `/domain/devices/disk${devices.disk.length === 1 ? '' : `[${at + 1}]`}/source/@file`;
}

/** The answer is kept for others: a caller that has no more patience leaves it to them. */
async function orAborted<Answer>(answer: Promise<Answer>, signal: AbortSignal): Promise<Answer> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([answer, aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
