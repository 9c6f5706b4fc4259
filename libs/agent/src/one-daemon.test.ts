import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { holdStateDirectory } from './one-daemon.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-daemon-'));
});
afterEach(() => rm(dir, { recursive: true }));

it('refuses a second agent of the same side and directory, whatever path leads there, and names the first', async () => {
  const stateDir = join(dir, 'state');
  const held = await holdStateDirectory('source', stateDir);
  using _other = await holdStateDirectory('dest', stateDir);
  using _elsewhere = await holdStateDirectory('source', join(dir, 'other'));
  await symlink(stateDir, join(dir, 'link'));
  for (const path of [stateDir, join(dir, 'link')])
    await expect(holdStateDirectory('source', path)).rejects.toMatchObject({
      kind: 'config-invalid',
      message: expect.stringMatching(
        `^another source agent \\(pid ${process.pid}\\) uses the state directory ${path}:`,
      ),
    });
  held[Symbol.dispose]();
  using _again = await holdStateDirectory('source', stateDir);
});

it('is not held by a process that was killed', async () => {
  const program = `import { holdStateDirectory } from ${JSON.stringify(join(import.meta.dirname, 'one-daemon.ts'))};
    await holdStateDirectory('source', ${JSON.stringify(dir)});
    process.stdout.write('held');
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  await expect(holdStateDirectory('source', dir)).rejects.toMatchObject({
    message: expect.stringContaining(`(pid ${child.pid})`),
  });
  child.kill('SIGKILL');
  await once(child, 'exit');
  using _held = await holdStateDirectory('source', dir);
});
