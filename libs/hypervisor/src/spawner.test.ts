import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { isAlive, type ProcessIdentity, send, waitGone } from './qemu-process.ts';
import { Spawner } from './spawner.ts';

const wait = (): AbortSignal => AbortSignal.timeout(30_000);

let dir: string;
let spawner: Spawner;
let started: ProcessIdentity[];
beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-spawn-');
  spawner = new Spawner();
  started = [];
});
afterEach(async () => {
  await spawner[Symbol.asyncDispose]();
  for (const each of started) await send(each, 'SIGKILL');
  await rm(dir, { recursive: true });
});

/** Runs a line of sh; gives who it is, and how it will have ended. */
async function run(line: string, program = '/bin/sh') {
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  const log = join(dir, 'log');
  const process = await spawner.spawn({ program, args: ['-c', line], env: { WORD: 'told' }, log }, resolve);
  if (process !== undefined) started.push(process);
  return { process, ended };
}

const parentOf = ({ pid }: ProcessIdentity): number =>
  Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);

async function helperReady(): Promise<number> {
  const patience = wait();
  for (;;) {
    if (spawner.helperPid !== undefined) return spawner.helperPid;
    await delay(5, undefined, { signal: patience });
  }
}

it('starts the first itself, and the others from a process of its own, which costs it nothing', async () => {
  const first = await run('exec sleep 600');
  expect(first.process && parentOf(first.process)).toBe(process.pid);
  const helper = await helperReady();
  const next = await run('exec sleep 600');
  expect(next.process && parentOf(next.process)).toBe(helper);
});

it.each([false, true])('tells how each has ended, and keeps what it has said; from the helper: %s', async (helped) => {
  if (helped) {
    await run('exit 0');
    await helperReady();
  }
  const said = await run('echo $WORD $HOME; exit 3');
  expect(await said.ended).toBe('ended with status 3');
  expect(await readFile(join(dir, 'log'), 'utf8')).toBe('told\n');
  const killed = await run('exec sleep 600');
  if (killed.process !== undefined) await send(killed.process, 'SIGKILL');
  expect(await killed.ended).toBe('ended with SIGKILL');
  const missing = await run('', join(dir, 'nothing'));
  expect([missing.process, await missing.ended]).toEqual([undefined, expect.stringContaining('ENOENT')]);
});

/** An order that cannot be sent; gives whether the one who gave it is still remembered. */
async function refusedOrder(): Promise<WeakRef<object>> {
  const ended = (): void => undefined;
  const order = { program: '/bin/sh', args: [1n as unknown as string], env: {}, log: join(dir, 'log') };
  await expect(spawner.spawn(order, ended)).rejects.toThrow('BigInt');
  return new WeakRef(ended);
}

it('remembers nothing of an order that its helper could not be given', async () => {
  await run('exit 0');
  await helperReady();
  const remembered = await refusedOrder();
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const patience = wait();
  while (remembered.deref() !== undefined && !patience.aborted) {
    await delay(5);
    collectGarbage();
  }
  expect(remembered.deref()).toBeUndefined();
});

it('goes on when its helper ends, and what that has started goes on as well', async () => {
  await run('exit 0');
  const helper = await helperReady();
  const before = await run('exec sleep 600');
  process.kill(helper, 'SIGKILL');
  const patience = wait();
  while (spawner.helperPid === helper) await delay(5, undefined, { signal: patience });
  const after = await run('exec sleep 600');
  for (const { process: each } of [before, after]) expect(each && (await isAlive(each))).toBe(true);
  expect(await helperReady()).not.toBe(helper);
});

it('ends its helper with itself, and nothing else', async () => {
  await run('exit 0');
  const helper = { pid: await helperReady(), startTime: '' };
  const other = await run('exec sleep 600');
  await spawner[Symbol.asyncDispose]();
  await waitGone(helper, wait());
  expect(other.process && (await isAlive(other.process))).toBe(true);
});
