/** Damaged inputs, drawn by fast-check from valid ones: what a stranger, a broken disk or a QEMU that was taken over may send. */
import * as fc from 'fast-check';

type Edit = (bytes: Buffer) => Buffer;

/** Numbers at which decoders break. */
const numbers = ['0', '-1', '1e308', '9223372036854775808', '18446744073709551616', '4294967296', 'NaN', '0x7fffffff'];
const words = [
  '',
  '\0',
  '\u202e',
  '\ud800',
  '__proto__',
  'constructor',
  '%s%n',
  '../../etc/passwd',
  "'",
  '"',
  '<!--',
  ']]>',
];

/** Where in the input, as a share of its length: it still means something when the input has become shorter. */
const place = fc.double({ min: 0, max: 1, noNaN: true });
const at = (bytes: Buffer, share: number): number => Math.floor(share * bytes.length);
const spliced = (bytes: Buffer, from: number, to: number, piece: Buffer): Buffer =>
  Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(Math.max(from, to))]);

/** `tokens` are words of the input's own language. */
function edits(tokens: readonly string[]): fc.Arbitrary<Edit> {
  const token = fc.constantFrom(...numbers, ...words, ...tokens);
  const flip = fc.tuple(place, fc.nat(255)).map(
    ([where, byte]): Edit =>
      (bytes) => {
        const i = at(bytes, where);
        return spliced(bytes, i, i + 1, Buffer.of(byte));
      },
  );
  const cut = fc.tuple(place, place).map(
    ([a, b]): Edit =>
      (bytes) => {
        return spliced(bytes, at(bytes, Math.min(a, b)), at(bytes, Math.max(a, b)), Buffer.alloc(0));
      },
  );
  const insert = fc.tuple(place, token).map(
    ([where, text]): Edit =>
      (bytes) => {
        const i = at(bytes, where);
        return spliced(bytes, i, i, Buffer.from(text));
      },
  );
  const repeat = fc.tuple(place, place, fc.integer({ min: 1, max: 300 })).map(
    ([a, b, times]): Edit =>
      (bytes) => {
        const [from, to] = [at(bytes, Math.min(a, b)), at(bytes, Math.max(a, b))];
        // Not more than a decoder is given in one piece.
        const count = Math.min(times, Math.ceil(bytesMax / Math.max(1, to - from)));
        return spliced(bytes, to, to, Buffer.concat(Array.from({ length: count }, () => bytes.subarray(from, to))));
      },
  );
  const number = fc.tuple(place, fc.constantFrom(...numbers)).map(
    ([where, digits]): Edit =>
      (bytes) => {
        const text = bytes.toString('latin1');
        const found = [...text.matchAll(/\d+/g)];
        const one = found[Math.min(found.length - 1, Math.floor(where * found.length))];
        return one === undefined ? bytes : spliced(bytes, one.index, one.index + one[0].length, Buffer.from(digits));
      },
  );
  return fc.oneof(flip, cut, insert, repeat, number);
}

/** What is given to a decoder at most, in bytes: as much as gRPC lets through to a document. */
const bytesMax = 1 << 20;

/** One of the seeds after up to eight edits, or bytes without any sense. */
export function damaged(seeds: readonly Uint8Array[], tokens: readonly string[]): fc.Arbitrary<Buffer> {
  const seed: fc.Arbitrary<Buffer> = fc.constantFrom(...seeds.map((bytes) => Buffer.from(bytes)));
  const edited = fc
    .tuple(seed, fc.array(edits(tokens), { maxLength: 8 }))
    .map(([bytes, all]) => all.reduce<Buffer>((now, edit) => edit(now), bytes).subarray(0, bytesMax));
  const noise = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
  return fc.oneof({ weight: 9, arbitrary: edited }, { weight: 1, arbitrary: noise });
}
