import { isUtf8 } from 'node:buffer';
import { QmpError } from './errors.ts';

/** One message of QMP: a JSON object, of which nothing is known yet. */
export type QmpObject = Readonly<Record<string, unknown>>;

/**
 * The longest message that is read, in bytes. The longest that QEMU (7.2 to 10) is known to send is its schema, 0.2 to 0.3 MB. A guest that has
 * broken out of its QEMU, or a QEMU that was adopted, may send anything: what is read of it must not hold up the other guests.
 */
const messageBytesMax = 1 << 20;
/** Commas and brackets in a message: what JSON costs goes by them, not by bytes. The schema has some 20 000. */
const partsMax = 100_000;

const newline = 0x0a;

/**
 * Cuts a stream of bytes into QMP's messages: one JSON object a line (QEMU's qmp-spec.rst, "2.1 General definitions").
 * A message that lies in one chunk, as nearly all do, is read in place; only one that is spread is put together.
 */
export class Framing {
  readonly #bytesMax: number;
  /** What has come of a line whose end has not; it grows by doubling, so that a line in a million pieces costs no more than in ten. */
  #begun = Buffer.alloc(0);
  #begunBytes = 0;

  constructor(bytesMax = messageBytesMax) {
    this.#bytesMax = bytesMax;
  }

  /**
   * Calls back with each message that `chunk` completes, at once and in order. Throws QmpError `qemu-protocol` for a line
   * that is no JSON object or longer than the limit; the stream is of no use after that.
   */
  push(chunk: Buffer, message: (object: QmpObject) => void): void {
    let from = 0;
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, from)) {
      const object = this.#line(chunk.subarray(from, end));
      from = end + 1;
      if (object) message(object);
    }
    if (from === chunk.length) return;
    this.#append(chunk.subarray(from));
  }

  #append(piece: Buffer): void {
    const bytes = this.#begunBytes + piece.length;
    this.#refuseOver(bytes);
    if (bytes > this.#begun.length) {
      const larger = Buffer.allocUnsafe(Math.max(bytes, 2 * this.#begun.length));
      this.#begun.copy(larger, 0, 0, this.#begunBytes);
      this.#begun = larger;
    }
    piece.copy(this.#begun, this.#begunBytes);
    this.#begunBytes = bytes;
  }

  #line(end: Buffer): QmpObject | undefined {
    if (this.#begunBytes === 0) {
      this.#refuseOver(end.length);
      return parseLine(end);
    }
    this.#append(end);
    const line = this.#begun.subarray(0, this.#begunBytes);
    this.#begun = Buffer.alloc(0);
    this.#begunBytes = 0;
    return parseLine(line);
  }

  #refuseOver(bytes: number): void {
    if (bytes <= this.#bytesMax) return;
    throw new QmpError(
      'qemu-protocol',
      `QEMU sent a message of more than ${this.#bytesMax} bytes; the monitor is given up`,
    );
  }
}

/** The object on a line, or undefined for a blank line. */
function parseLine(line: Buffer): QmpObject | undefined {
  // JSON.parse on bytes that are no UTF-8 would read replacement characters and call it well.
  if (!isUtf8(line)) throw malformed(line, 'is not UTF-8');
  if (partsOf(line) > partsMax) throw malformed(line, `has more than ${partsMax} parts`);
  const text = line.toString('utf8');
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    if (text.trim() === '') return undefined;
    throw malformed(line, 'is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed(line, 'is not a JSON object');
  return value as QmpObject;
}

/** Counted in bytes of any kind, strings' too: a bound, not a figure. */
function partsOf(line: Buffer): number {
  if (line.length <= partsMax) return 0;
  let parts = 0;
  for (const byte of line) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) parts += 1;
  return parts;
}

/**
 * JSON, with each integer that a double cannot hold exactly as a bigint (QEMU's integers have 64 bits). Looking at every
 * number costs five times as much as parsing, so it is done only where some digits are that many.
 */
function parseJson(text: string): unknown {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
    if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
    const digits = context?.source ?? '';
    return /^-?\d{16,20}$/.test(digits) ? BigInt(digits) : value;
  });
}

function malformed(line: Buffer, why: string, cause?: unknown): QmpError {
  const start = JSON.stringify(line.toString('latin1', 0, 80));
  return new QmpError('qemu-protocol', `QEMU sent a line that ${why}: ${start}`, { cause });
}
