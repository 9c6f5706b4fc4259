/**
 * What lies below a disk's image, found out here and given to QEMU as nodes of their own: left to itself, QEMU opens whatever the author of
 * an image has written into its header, a file of the host's or another machine's.
 */
import { realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { BackingStore, Domain } from '@ferry/domain-xml';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';
import { type Qcow2Header, readQcow2Header } from './qcow2-header.ts';

/** Why a file may not be used, by its real path. */
export type FileRule = (real: string) => string | undefined;

/** More images than anybody stacks; each costs QEMU a look at every read. */
const layersMax = 16;

type Layer = Required<Pick<BackingStore, 'type' | 'format' | 'path'>> & Pick<BackingStore, 'metadataCache'>;
type Disk = Domain['devices']['disk'][number];

/** The domain with all that is below its images named, each chain ended. Throws HypervisorError file-refused, disk-missing. */
export async function withBackingChains(domain: Domain, rule: FileRule): Promise<Domain> {
  await refuseFlashChains(domain);
  const disk = await Promise.all(domain.devices.disk.map((one) => withChain(one, domain.name, rule)));
  const devices = { ...domain.devices, disk };
  return { ...domain, devices, document: { ...domain.document, devices } };
}

/** What keeps the domain from being started, all of it. */
export async function imageProblems(domain: Domain, rule: FileRule): Promise<HypervisorError[]> {
  const asked = [refuseFlashChains(domain), ...domain.devices.disk.map((one) => withChain(one, domain.name, rule))];
  return (await Promise.allSettled(asked)).flatMap((result) => {
    if (result.status === 'fulfilled') return [];
    if (result.reason instanceof HypervisorError) return [result.reason];
    throw result.reason;
  });
}

async function withChain(disk: Disk, domain: string, rule: FileRule): Promise<Disk> {
  const path = disk.type === 'file' ? disk.source?.file : disk.type === 'block' ? disk.source?.dev : undefined;
  if (path === undefined) return disk;
  const top = { type: disk.type === 'block' ? 'block' : 'file', format: disk.driver?.type ?? 'raw', path } as const;
  return { ...disk, backingStore: await chainBelow(top, disk.backingStore, domain, rule) };
}

/** Below the layers that the document names, those that the last one's header names. */
async function chainBelow(
  top: Layer,
  named: BackingStore | undefined,
  domain: string,
  rule: FileRule,
): Promise<BackingStore> {
  const layers: Layer[] = [];
  let given = named;
  for (let layer = top; ; ) {
    const header = await headerOf(layer, domain);
    const next = given === undefined ? await belowBy(header, layer, domain, rule) : layerOf(given);
    if (next === undefined) break;
    layers.push(next);
    if (layers.length > layersMax)
      throw refused(top.path, domain, `has more than ${layersMax} images below it, or is below itself`, 'commit some');
    given = given?.backingStore;
    layer = next;
  }
  return layers.reduceRight<BackingStore>((below, layer) => ({ ...layer, backingStore: below }), {});
}

const layerOf = ({ type = 'file', format, path, metadataCache }: BackingStore): Layer | undefined =>
  format === undefined || path === undefined
    ? undefined
    : { type, format, path, ...(metadataCache === undefined ? {} : { metadataCache }) };

/** Only qcow2 has a header that names others. What is not there, or may not be read, is said of the file itself. */
async function headerOf({ format, path }: Pick<Layer, 'format' | 'path'>, domain: string) {
  if (format !== 'qcow2') return undefined;
  let header: Qcow2Header | undefined;
  try {
    header = await readQcow2Header(path);
  } catch (cause) {
    if (errnoOf(cause) !== undefined) return undefined;
    throw refused(path, domain, `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, 'mend it');
  }
  if (header?.hasDataFile === true) {
    const what = 'keeps its data in another file, which its header names';
    throw refused(path, domain, what, 'convert it with qemu-img convert');
  }
  return header;
}

/** The image that a header names, where it may. */
async function belowBy(
  header: Qcow2Header | undefined,
  { path }: Layer,
  domain: string,
  rule: FileRule,
): Promise<Layer | undefined> {
  const backing = header?.backing;
  if (backing === undefined || backing.name === '') return undefined;
  const { name, format } = backing;
  const shown = JSON.stringify(name.slice(0, 200));
  const rebase = 'set it with qemu-img rebase -u -b FILE -F FORMAT';
  if (/^[^/]*:/.test(name) || /\p{Cc}/u.test(name))
    throw refused(path, domain, `has a header that names ${shown} below it, which is no plain file`, rebase);
  if (format !== 'raw' && format !== 'qcow2')
    throw refused(path, domain, `has a header that names ${shown} without a format that Ferry knows`, rebase);
  let real: string;
  let isBlock: boolean;
  try {
    real = await realpath(isAbsolute(name) ? name : join(await realpath(dirname(path)), name));
    isBlock = (await stat(real)).isBlockDevice();
  } catch (cause) {
    const why = `${shown} below image ${path} of domain ${domain} cannot be used on this host (${errnoOf(cause) ?? 'unknown'})`;
    throw new HypervisorError('disk-missing', `${why}: make it available here, as on the other host`, { cause });
  }
  const why = rule(real);
  if (why !== undefined) throw refused(path, domain, `has a header that names ${real} below it, which ${why}`, rebase);
  return { type: isBlock ? 'block' : 'file', format, path: real };
}

/** Firmware and its variables are whole images: QEMU is told so. */
async function refuseFlashChains({ document: { os }, name }: Domain): Promise<void> {
  const { loader, nvram } = os;
  const images = [
    { path: loader?.path, format: loader?.type === 'pflash' ? loader.format : undefined },
    { path: nvram?.path, format: nvram?.format },
    { path: nvram?.template, format: nvram?.templateFormat },
  ];
  for (const { path, format } of images) {
    if (path === undefined || format === undefined) continue;
    const header = await headerOf({ path, format }, name);
    if (header?.backing !== undefined)
      throw refused(path, name, 'is firmware with an image below it', 'flatten it with qemu-img convert');
  }
}

const refused = (path: string, domain: string, what: string, next: string): HypervisorError =>
  new HypervisorError('file-refused', `image ${path} of domain ${domain} ${what}: ${next}`);
