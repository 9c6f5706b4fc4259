import { describe, expect, it } from '@jest/globals';
import { Phase } from '@ferry/proto/ferry/v1/migration';
import { parseBytes, parseMilliseconds } from './quantities.ts';
import { bytes, columns, duration, phaseWord } from './words.ts';

describe('amounts', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.50 KiB'],
    [268_435_456n, '256 MiB'],
    [5n << 40n, '5 TiB'],
  ])('%s bytes are written %s', (amount, text) => expect(bytes(amount)).toBe(text));

  it.each([
    [0, '0 µs'],
    [850, '850 µs'],
    [18_340, '18.3 ms'],
    [2_310_000n, '2.31 s'],
  ])('%s µs are written %s', (amount, text) => expect(duration(amount)).toBe(text));

  it.each([
    ['1', 1n],
    ['4K', 4096n],
    ['100M', 104_857_600n],
    ['1g', 1_073_741_824n],
    ['1GiB', 1_073_741_824n],
  ])('%s is read as %s bytes', (text, amount) => expect(parseBytes(text)).toBe(amount));

  it.each([
    ['300', 300],
    ['300ms', 300],
    ['1.5s', 1500],
  ])('%s is read as %s ms', (text, amount) => expect(parseMilliseconds(text)).toBe(amount));

  it.each(['', '-1', '1.5M', 'M', '1P', '1 M', '0x10'])('%j is no number of bytes', (text) =>
    expect(() => parseBytes(text)).toThrow(),
  );
  it.each(['', '-1', '1m', '0.0001s', '0.5'])('%j is no time', (text) =>
    expect(() => parseMilliseconds(text)).toThrow(),
  );
});

describe('words', () => {
  it("are libvirt's names of phases", () => {
    expect(phaseWord(Phase.PHASE_CONFIRM3_CANCELLED)).toBe('confirm3-cancelled');
    expect(phaseWord(99 as Phase)).toBe('unknown');
  });

  it('stand in columns', () =>
    expect(
      columns([
        ['a', 'bb'],
        ['ccc', 'd'],
      ]),
    ).toBe('a    bb\nccc  d\n'));
});
