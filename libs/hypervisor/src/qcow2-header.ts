/** The header of a qcow2 image (QEMU's docs/interop/qcow2.txt): what its author has QEMU open besides. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

export interface Qcow2Header {
  readonly backing: { readonly name: string; readonly format: string | undefined } | undefined;
  /** Its data is in another file, which QEMU would write to. */
  readonly hasDataFile: boolean;
}

const magic = 0x514649fb;
const headerBytesMax = 64 * 1024;
/** QEMU's own limit (block/qcow2.c, qcow2_do_open). */
const nameBytesMax = 1023;
const dataFileBit = 4n;
const extension = { end: 0, backingFormat: 0xe2792aca } as const;

/** Undefined for what is no qcow2 image, which QEMU says in its own words. Throws Error for a header that cannot be right. */
export async function readQcow2Header(path: string): Promise<Qcow2Header | undefined> {
  // A FIFO would make us wait for a writer.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const kind = await file.stat();
  if (!kind.isFile() && !kind.isBlockDevice()) return undefined;
  const header = await readAt(file, 0, headerBytesMax);
  if (header.length < 72 || header.readUInt32BE(0) !== magic) return undefined;
  const version = header.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw new Error(`it has version ${version} of the format`);
  if (version === 3 && header.length < 104) throw new Error('its header is cut short');
  const incompatible = version === 3 ? header.readBigUInt64BE(72) : 0n;
  const nameAt = header.readBigUInt64BE(8);
  const nameBytes = header.readUInt32BE(16);
  return {
    hasDataFile: (incompatible & dataFileBit) !== 0n,
    backing:
      nameAt === 0n
        ? undefined
        : {
            name: await readName(file, nameAt, nameBytes),
            format: readBackingFormat(header, version === 3 ? header.readUInt32BE(100) : 72),
          },
  };
}

async function readName(file: FileHandle, at: bigint, bytes: number): Promise<string> {
  if (bytes > nameBytesMax || at > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error('its backing file has no name');
  const name = await readAt(file, Number(at), bytes);
  if (name.length < bytes) throw new Error("its backing file's name is cut short");
  return new TextDecoder('utf-8', { fatal: true }).decode(name);
}

/** Extensions follow the header: a type, a length, as many bytes, filled up to 8. */
function readBackingFormat(header: Buffer, from: number): string | undefined {
  for (let at = from; at + 8 <= header.length; ) {
    const [type, bytes] = [header.readUInt32BE(at), header.readUInt32BE(at + 4)];
    if (type === extension.end) return undefined;
    if (type === extension.backingFormat) return header.subarray(at + 8, at + 8 + bytes).toString('latin1');
    at += 8 + Math.ceil(bytes / 8) * 8;
  }
  return undefined;
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read({ buffer, position, length });
  return buffer.subarray(0, bytesRead);
}
