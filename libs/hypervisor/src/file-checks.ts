/**
 * The one place that decides about every file that a document names: by what is there, whose it is and where it really lies. QEMU, the
 * agent's user, unlinks, truncates, follows or waits for whatever it is given.
 */
import { constants } from 'node:fs';
import { access, lstat, open, readFile, realpath, stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Domain, type DomainFile, type FileKind, filesOf } from '@ferry/domain-xml';
import type { FileRule } from './backing-chains.ts';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';
import { idOf, type KnownFile, type KnownFiles } from './known-files.ts';

/** What a file is now. */
interface Found {
  readonly file: DomainFile;
  readonly real: string;
  /** Undefined: nothing is there. */
  readonly stats: Stats | undefined;
}

/** Files that a guest's bytes are written into. */
const outputs: ReadonlySet<string> = new Set<DomainFile['use']>(['chardev-file', 'chardev-log', 'sound-file']);

/** What is wrong with the files of a domain, all of it. */
export async function fileProblems(domain: Domain, rule: FileRule, known: KnownFiles): Promise<HypervisorError[]> {
  const { found, problems } = await lookAtAll(domain);
  const others = await known.ofOthers(domain.uuid);
  const own = found.flatMap(knownOf);
  for (const one of found) {
    const why = placeProblem(one, rule) ?? kindProblem(one) ?? (await ownerProblem(one, own, others, known));
    if (why !== undefined) problems.push(new HypervisorError(why.kind, `${nameOf(one.file, domain)} ${why.what}`));
  }
  return problems;
}

/** The domain's files as others are compared with them later. */
export async function knownFilesOf(domain: Domain): Promise<KnownFile[]> {
  return (await lookAtAll(domain)).found.flatMap(knownOf);
}

const knownOf = ({ file, real, stats }: Found): KnownFile[] =>
  stats === undefined ? [] : [{ use: file.use, path: real, id: idOf(stats) }];

async function lookAtAll(domain: Domain): Promise<{ found: Found[]; problems: HypervisorError[] }> {
  const found: Found[] = [];
  const problems: HypervisorError[] = [];
  for (const file of filesOf(domain)) {
    try {
      found.push(await lookAt(file));
    } catch (cause) {
      const code = errnoOf(cause) ?? 'unknown';
      const message = `${nameOf(file, domain)} cannot be used on this host (${code}): make it available here, as on the other host`;
      problems.push(new HypervisorError('disk-missing', message, { cause }));
    }
  }
  return { found, problems };
}

const nameOf = ({ use, path }: DomainFile, { name }: Domain): string => `${use} ${path} of domain ${name}`;

async function lookAt(file: DomainFile): Promise<Found> {
  if (!file.expects.includes('absent')) {
    const real = await realpath(file.path);
    await access(real, constants.R_OK | (file.readOnly ? 0 : constants.W_OK));
    return { file, real, stats: await stat(real) };
  }
  const directory = await realpath(dirname(file.path));
  await access(directory, constants.W_OK);
  const path = join(directory, basename(file.path));
  const there = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (there === undefined) return { file, real: path, stats: undefined };
  // A link that leads nowhere would have QEMU make a file wherever it leads to: that throws.
  const real = await realpath(path);
  return { file, real, stats: await stat(real) };
}

type Problem = { readonly kind: 'disk-missing' | 'file-refused'; readonly what: string };
const refused = (what: string): Problem => ({ kind: 'file-refused', what });

function placeProblem({ file, real }: Found, rule: FileRule): Problem | undefined {
  // It has a name of its own below /dev/shm; whose it is decides.
  if (file.use === 'shared-memory') return undefined;
  const why = rule(real);
  return why === undefined ? undefined : { kind: 'disk-missing', what: `is really ${real}, which ${why}` };
}

function kindProblem({ file, real, stats }: Found): Problem | undefined {
  const kind = stats === undefined ? 'absent' : kindOf(stats);
  if (kind === 'other' || !file.expects.includes(kind)) {
    const wanted = file.expects.map((one) => words[one]).join(' or ');
    return refused(`is ${words[kind]}, where ${wanted} is to be: name another`);
  }
  if ((kind === 'block' || kind === 'character') && !real.startsWith('/dev/'))
    return refused(`is a device outside of /dev: whoever made it chose which`);
  if (kind === 'regular' && !file.readOnly && (stats?.nlink ?? 1) > 1)
    return refused('has another name as well, a hard link: what is written here is written there; make a copy');
  return undefined;
}

const words: Readonly<Record<FileKind | 'other', string>> = {
  absent: 'nothing',
  regular: 'a regular file',
  socket: 'a socket',
  fifo: 'a FIFO',
  block: 'a block device',
  character: 'a character device',
  directory: 'a directory',
  other: 'something else',
};

function kindOf(stats: Stats): FileKind | 'other' {
  if (stats.isFile()) return 'regular';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSocket()) return 'socket';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isBlockDevice()) return 'block';
  return stats.isCharacterDevice() ? 'character' : 'other';
}

async function ownerProblem(
  one: Found,
  own: readonly KnownFile[],
  others: readonly KnownFile[],
  known: KnownFiles,
): Promise<Problem | undefined> {
  const { file, real, stats } = one;
  if (stats === undefined) return undefined;
  const all = [...own, ...others];
  if (file.use === 'directory') {
    const inside = all.find(({ path }) => path.startsWith(`${real}/`));
    return inside && refused(`contains ${inside.path}, which is a guest's ${inside.use}: share a directory of its own`);
  }
  const id = idOf(stats);
  if (outputs.has(file.use) && stats.isFile()) {
    const other = all.find((each) => each.id === id && !outputs.has(each.use));
    if (other !== undefined) return refused(`is a guest's ${other.use} as well: name a file of its own`);
    if (await isImage(real)) return refused('is a disk image: what is written into it would damage it');
  }
  if (file.use === 'shared-memory' && !(await known.isOurs(real, id)))
    return refused('is of another program of this host: choose another name');
  if (stats.isSocket() && file.expects.includes('absent') && (await isListenedOn(real, file.path)))
    return refused('is a socket that a program listens on: QEMU would take its place');
  return undefined;
}

/** How images begin: qcow2, VMDK, VHDX, VHD, LUKS; and what a raw disk that boots has at the end of its first sector. */
const beginnings = ['QFI\xfb', 'KDMV', 'vhdxfile', 'conectix', 'LUKS\xba\xbe', '# Disk DescriptorFile', 'hsqs', '<<< '];

async function isImage(path: string): Promise<boolean> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(512), position: 0, length: 512 });
  const head = buffer.toString('latin1', 0, bytesRead);
  return beginnings.some((each) => head.startsWith(each)) || head.slice(510) === '\x55\xaa';
}

/** proc(5), net/unix: flag 00010000 is a listening socket, column 8 the path that it was bound to. */
async function isListenedOn(...paths: readonly string[]): Promise<boolean> {
  const rows = (await readFile('/proc/net/unix', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  return rows.some((row) => row[3] === '00010000' && paths.includes(row.slice(7).join(' ')));
}
