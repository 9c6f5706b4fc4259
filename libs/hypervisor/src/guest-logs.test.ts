import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { cutGrown } from './guest-logs.ts';

const mib = 2 ** 20;
let dir: string;
let path: string;
const writers: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-guest-logs-'));
  path = join(dir, 'serial');
});
afterEach(async () => {
  for (const writer of writers.splice(0)) {
    writer.kill('SIGKILL');
    await once(writer, 'exit');
  }
  rmSync(dir, { recursive: true });
});

/** A process that writes 2 MiB as QEMU does, says so, and one line more for each line that it reads. */
async function writerOf(redirect: '>' | '>>' | '<>'): Promise<{ pid: number; write: () => Promise<void> }> {
  const script = `exec 3${redirect}"$0"; head -c ${2 * mib} /dev/zero | tr '\\0' x >&3; echo; while read -r _; do echo line >&3; echo; done`;
  const child = spawn('/bin/sh', ['-c', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  writers.push(child);
  await once(child.stdout, 'data');
  const write = async (): Promise<void> => {
    child.stdin.write('\n');
    await once(child.stdout, 'data');
  };
  return { pid: child.pid ?? 0, write };
}

it('a file that has grown too long is cut to its end, and goes on behind that', async () => {
  const { pid, write } = await writerOf('>>');
  expect(await cutGrown(pid, 3 * mib)).toBe(0);
  await write();
  expect(await cutGrown(pid, mib)).toBe(1);
  await write();
  expect(readFileSync(path, 'latin1')).toMatch(/^x{65531}line\nline\n$/);
});

it('one that is not appended to takes no more of the disk either', async () => {
  const { pid, write } = await writerOf('>');
  expect(await cutGrown(pid, mib)).toBe(1);
  await write();
  expect(statSync(path).blocks * 512).toBeLessThan(mib);
  expect(readFileSync(path, 'latin1')).toMatch(/line\n$/);
  expect(await cutGrown(pid, mib)).toBe(0);
});

it('one that is read too, as a disk is, is left alone', async () => {
  const { pid } = await writerOf('<>');
  expect(await cutGrown(pid, mib)).toBe(0);
  expect(statSync(path).size).toBe(2 * mib);
});

it('a process that has ended has none', async () => {
  const { pid } = await writerOf('>>');
  const [writer] = writers.splice(0);
  writer?.kill('SIGKILL');
  if (writer !== undefined) await once(writer, 'exit');
  expect(await cutGrown(pid, mib)).toBe(0);
});
