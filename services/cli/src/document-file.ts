/** Domain documents as files; `-` is stdin. */
import { closeSync, openSync, readSync } from 'node:fs';
import { CliError } from './cli-error.ts';

/** As the agents have it (limits of a document from outside). */
export const documentBytesMax = 1024 * 1024;

/** A document to send to a host. Throws CliError `usage`. */
export function readDocument(file: string): string {
  let content: Buffer;
  try {
    content = bytesOf(file);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CliError('usage', `the document ${file} cannot be read: ${why}`, { cause });
  }
  if (content.length <= documentBytesMax) return content.toString('utf8');
  throw new CliError('usage', `the document ${file} cannot be read: it has more than ${documentBytesMax} bytes`);
}

/** A file's content, and at most one byte more than a document may have: a file may be endless. Throws as node:fs does. */
export function bytesOf(file: string): Buffer {
  const from = file === '-' ? 0 : openSync(file, 'r');
  try {
    const pieces: Buffer[] = [];
    let size = 0;
    while (size <= documentBytesMax) {
      const piece = Buffer.alloc(64 * 1024);
      const read = readSync(from, piece);
      if (read === 0) break;
      size += read;
      pieces.push(piece.subarray(0, read));
    }
    return Buffer.concat(pieces);
  } finally {
    if (from !== 0) closeSync(from);
  }
}
