/** A member of an archive: a directory, a file, a symbolic link, or a character device. */
export type CpioEntry =
  | { readonly path: string; readonly kind: 'directory' }
  | { readonly path: string; readonly kind: 'file'; readonly mode: number; readonly content: Uint8Array }
  | { readonly path: string; readonly kind: 'link'; readonly target: string }
  | { readonly path: string; readonly kind: 'device'; readonly major: number; readonly minor: number };

/**
 * An archive as the kernel unpacks it into its first file system: the "newc" format of
 * Documentation/driver-api/early-userspace/buffer-format.rst. Directories come before what is in them.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Uint8Array {
  const trailer: CpioEntry = { path: 'TRAILER!!!', kind: 'file', mode: 0, content: Buffer.alloc(0) };
  return Buffer.concat([...entries, trailer].flatMap((entry, index) => member(entry, index + 1)));
}

function member(entry: CpioEntry, inode: number): Uint8Array[] {
  const mode = MODES[entry.kind] | (entry.kind === 'file' ? entry.mode : 0);
  const content = entry.kind === 'file' ? entry.content : Buffer.from(entry.kind === 'link' ? entry.target : '');
  const [major, minor] = entry.kind === 'device' ? [entry.major, entry.minor] : [0, 0];
  const name = Buffer.from(`${entry.path}\0`);
  // inode, mode, uid, gid, links, mtime, size, device (2), device node (2), size of the name, checksum
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, major, minor, name.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return [padded(Buffer.concat([Buffer.from(header), name])), padded(content)];
}

/** File types of stat(2), with the permissions that never differ. */
const MODES = { directory: 0o040755, file: 0o100000, link: 0o120777, device: 0o020600 } as const;

/** Headers and contents each end at a multiple of four bytes. */
const padded = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
