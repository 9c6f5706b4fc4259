/** Which of a domain's disks only this host can see. */
import { readFile, realpath } from 'node:fs/promises';
import { type Domain, filesOf } from '@ferry/domain-xml';

/** Kinds of file systems that more than one host can mount at once (libvirt's virFileIsSharedFSType, and newer ones). */
const shared: ReadonlySet<string> = new Set([
  'nfs',
  'nfs4',
  'cifs',
  'smb2',
  'smb3',
  'smbfs',
  'ceph',
  'gfs',
  'gfs2',
  'ocfs2',
  'afs',
  'gpfs',
  'lustre',
  'beegfs',
  'acfs',
  'fuse.glusterfs',
  'fuse.ceph-fuse',
  'fuse.quobyte',
  'fuse.juicefs',
  'fuse.moosefs',
]);

/** A disk whose image only this host can see. */
export interface LocalDisk {
  readonly path: string;
  readonly fileSystem: string;
}

/**
 * The images that the guest writes to and that lie on a file system of this host's own, except below `sharedPaths`. Read-only ones do
 * not count: they need only be the same everywhere.
 */
export async function localDisks(domain: Domain, sharedPaths: readonly string[]): Promise<LocalDisk[]> {
  const images = filesOf(domain).filter(({ use, readOnly }) => use === 'disk' && !readOnly);
  const files = images.filter(({ path }) => isFile(domain, path));
  if (files.length === 0) return [];
  const mounts = mountsOf(await readFile('/proc/self/mountinfo', 'utf8'));
  const roots = await Promise.all(sharedPaths.map(whereIs));
  const found = await Promise.all(
    files.map(async ({ path }): Promise<LocalDisk[]> => {
      const real = await whereIs(path);
      if (roots.some((root) => isBelow(real, root))) return [];
      const fileSystem = mounts.findLast((mount) => isBelow(real, mount.at))?.fileSystem ?? 'unknown';
      return shared.has(fileSystem) ? [] : [{ path, fileSystem }];
    }),
  );
  return found.flat();
}

/** A block device is shared or not by what is behind it, which no file system tells; a socket leads to a server. */
const isFile = ({ devices }: Domain, path: string): boolean =>
  devices.disk.some((disk) => disk.type === 'file' && disk.source?.file === path);

const whereIs = (path: string): Promise<string> => realpath(path).catch(() => path);

const isBelow = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);

/** What is mounted where, the innermost last; of several at one place the last one is seen (proc(5): field 5, and the first after the dash). @internal */
export function mountsOf(mountinfo: string): { readonly at: string; readonly fileSystem: string }[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [at, fileSystem] = [before.split(' ')[4], after.split(' ')[0]];
      return at === undefined || fileSystem === undefined ? [] : [{ at: unescaped(at), fileSystem }];
    })
    .toSorted((a, b) => a.at.length - b.at.length);
}

/** Spaces, tabs, newlines and backslashes are written in octal. */
const unescaped = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
