import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { NUMBERS_FIRST, verifyCounter } from './counter.ts';
import { cpioArchive } from './cpio.ts';
import { linuxGuest } from './linux-guest.ts';

const guest = await linuxGuest(join(import.meta.dirname, '../../.tools/linux-guest'), AbortSignal.timeout(60_000));

describe('verifyCounter', () => {
  const numbers = Array.from({ length: NUMBERS_FIRST + 5 }, (_, at) => `${at + 1}\n`);
  const lineOf = (count: number) => {
    const file = numbers.slice(0, NUMBERS_FIRST + count).join('');
    return `LINUX ${count} ${createHash('sha256').update(file).digest('hex')}\r\n`;
  };
  const lines = [1, 2, 3, 4, 5].map(lineOf);

  it("passes what is whole, and the kernel's lines", () => {
    const output = `[    0.1] hello\r\n${lines.join('')}LINUX 6 ab`;
    expect(verifyCounter(output)).toEqual({ first: 1, last: 5, lines: 5, intact: true, problems: [] });
  });

  it.each([
    ['a line lost', lines.toSpliced(2, 1), '4 after 2'],
    ['a line repeated', lines.toSpliced(2, 0, lineOf(2)), '2 after 2'],
    ['a start', [...lines, lineOf(1)], '1 after 5'],
    ['a cut line', lines.toSpliced(2, 1, 'LINUX 3 ab\r\n'), 'not a whole line: LINUX 3 ab\r'],
  ])('notices %s', (_what, said, problem) => {
    const report = verifyCounter(said.join(''));
    expect(report.intact).toBe(false);
    expect(report.problems[0]).toBe(problem);
  });

  it('notices memory that is not what it was', () => {
    const flipped = lines.join('').replace(/(LINUX 3 )(.)/, (_all, head: string, digit: string) => {
      return `${head}${digit === '0' ? '1' : '0'}`;
    });
    const report = verifyCounter(flipped);
    expect(report.intact).toBe(false);
    expect(report.problems).toEqual([expect.stringMatching(/^3 has checksum/)]);
  });
});

describe('cpioArchive', () => {
  it('is what the kernel documents', () => {
    const archive = Buffer.from(
      cpioArchive([{ path: 'ab', kind: 'file', mode: 0o644, content: Buffer.from('hello') }]),
    );
    expect(archive.length % 4).toBe(0);
    expect(archive.subarray(0, 110).toString('latin1')).toBe(
      '070701000000010000' +
        '81a4000000000000000000000001000000000000000500000000000000000000000000000000' +
        '0000000300000000',
    );
    expect(archive.subarray(110, 124).toString('latin1')).toBe('ab\0\0\0\0hello\0\0\0');
  });
});

if ('missing' in guest) {
  it.skip(`boots a real Linux: ${guest.missing}`, () => {});
} else {
  it('boots a real Linux, which counts', async () => {
    const flags = '-machine pc-q35-7.2 -accel tcg -m 256 -nodefaults -display none -no-reboot'.split(' ');
    flags.push('-kernel', guest.kernel, '-initrd', guest.initrd, '-append', guest.cmdline, '-serial', 'stdio');
    const qemu = spawn('qemu-system-x86_64', flags, {
      stdio: ['ignore', 'pipe', 'inherit'],
      // Ends before the test does: a Linux that hangs must not outlive it.
      timeout: 50_000,
      killSignal: 'SIGKILL',
    });
    try {
      const report = verifyCounter(await outputUntil(qemu, /LINUX 5 [^\n]*\n/));
      expect(report).toMatchObject({ first: 1, intact: true, problems: [] });
      expect(report.lines).toBeGreaterThanOrEqual(5);
    } finally {
      const ended = qemu.exitCode === null ? once(qemu, 'exit') : undefined;
      qemu.kill('SIGKILL');
      await ended;
    }
  });
}

/** What a process has written by the time that a pattern is found in it; all of it if it ends before. */
async function outputUntil(process: ChildProcess, pattern: RegExp): Promise<string> {
  let output = '';
  for await (const chunk of process.stdout ?? []) {
    output += String(chunk);
    if (pattern.test(output)) break;
  }
  return output;
}
