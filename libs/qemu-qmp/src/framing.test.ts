import { describe, expect, it } from '@jest/globals';
import { array, assert, dictionary, jsonValue, nat, property, string } from 'fast-check';
import { Framing, type QmpObject } from './framing.ts';

/** What comes out when bytes go in, cut into chunks as given. */
function read(chunks: readonly Buffer[], bytesMax?: number): QmpObject[] {
  const framing = new Framing(bytesMax);
  const seen: QmpObject[] = [];
  for (const chunk of chunks) framing.push(chunk, (message) => seen.push(message));
  return seen;
}

const text = (value: string) => read([Buffer.from(value)]);

describe('framing', () => {
  it('reads the same messages however the bytes are cut', () => {
    const messages = array(dictionary(string({ unit: 'grapheme' }), jsonValue(), { noNullPrototype: true }));
    const seed = process.env['SEED'] === undefined ? {} : { seed: Number(process.env['SEED']) };
    const same = property(messages, array(nat(400)), (sent, sizes) => {
      const bytes = Buffer.from(sent.map((message) => `${JSON.stringify(message)}\r\n`).join(''));
      const chunks: Buffer[] = [];
      let from = 0;
      for (const size of sizes) chunks.push(bytes.subarray(from, (from += size)));
      chunks.push(bytes.subarray(from));
      const whole = read([bytes]);
      expect(whole.map((message) => Object.keys(message))).toEqual(sent.map((message) => Object.keys(message)));
      expect(read(chunks)).toEqual(whole);
    });
    assert(same, seed);
  });

  it('hands a message on before the next one has come', () => {
    expect(text('{"a":1}\n{"b":')).toEqual([{ a: 1 }]);
  });

  it('passes over blank lines', () => {
    expect(text('\r\n{}\n \n')).toEqual([{}]);
  });

  it.each([
    { what: 'no JSON', line: 'hello', why: /not JSON: "hello/ },
    { what: 'half an object', line: '{"a":', why: /not JSON/ },
    { what: 'two objects', line: '{} {}', why: /not JSON/ },
    { what: 'a list', line: '[{}]', why: /not a JSON object/ },
    { what: 'a word', line: '"QMP"', why: /not a JSON object/ },
    { what: 'null', line: 'null', why: /not a JSON object/ },
    { what: 'nesting without end', line: '[1234567890123456,'.repeat(49_000), why: /not JSON/ },
  ])('refuses $what', ({ line, why }) => {
    const refused = expect.objectContaining({ kind: 'qemu-protocol', message: expect.stringMatching(why) });
    expect(() => text(`${line}\n`)).toThrow(refused);
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(() => read([Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d, 0x0a])])).toThrow(/not UTF-8/);
  });

  it.each([
    { how: 'in one chunk', chunks: ['{"a":"0123456789"}\n'] },
    { how: 'in pieces', chunks: ['{"a":"01234', '56789"}\n'] },
    { how: 'without an end', chunks: ['{"a":"01', '23456', '789'] },
  ])('refuses a message over the limit $how', ({ chunks }) => {
    const bytes = chunks.map((chunk) => Buffer.from(chunk));
    expect(() => read(bytes, 12)).toThrow(expect.objectContaining({ kind: 'qemu-protocol' }));
  });

  it.each([
    { what: 'a line without an end', chunk: Buffer.alloc(64 << 10, 0x61) },
    { what: 'a line without an end, byte by byte', chunk: Buffer.from('a') },
  ])('gives up $what after a megabyte', ({ chunk }) => {
    const framing = new Framing();
    let bytes = 0;
    const push = (): void => {
      for (;;) {
        framing.push(chunk, () => undefined);
        bytes += chunk.length;
      }
    };
    expect(push).toThrow(/more than 1048576 bytes/);
    expect(bytes).toBeLessThanOrEqual(1 << 20);
  });

  it('refuses a message of very many parts before it is parsed', () => {
    expect(() => text(`{"a":[${'0,'.repeat(200_000)}0]}\n`)).toThrow(/has more than 100000 parts: "\{\\"a/);
    expect(() => text(`{"a":[${'1234567890123456,'.repeat(60_000)}0]}\n`)).not.toThrow();
    expect(text(`${JSON.stringify({ a: ','.repeat(50_000) })}\n`)).toHaveLength(1);
  });

  it('does not count a message before towards the limit', () => {
    expect(read([Buffer.from('{"a":1}\n{"a":'), Buffer.from('2}\n{"a":3}\n')], 8)).toEqual([
      { a: 1 },
      { a: 2 },
      { a: 3 },
    ]);
  });

  it('keeps integers exact', () => {
    const line = '{"most":18446744073709551615,"least":-9223372036854775808,"safe":9007199254740991,"real":1e300}\n';
    expect(text(line)).toEqual([{ most: 2n ** 64n - 1n, least: -(2n ** 63n), safe: 2 ** 53 - 1, real: 1e300 }]);
  });

  it('does not let a message touch the prototype', () => {
    const [message] = text('{"__proto__":{"polluted":true}}\n');
    expect(Object.getPrototypeOf(message)).toBe(Object.getPrototypeOf({ ...message }));
    expect('polluted' in {}).toBe(false);
  });
});
