import { chmod, chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { tryStateDir } from './state-dir.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-state-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const refused = (why: RegExp) =>
  expect.objectContaining({ kind: 'config-invalid', message: expect.stringMatching(why) });

it('makes it, and leaves nothing there', async () => {
  const state = join(dir, 'lib', 'ferry');
  await tryStateDir(state);
  expect(await readdir(state)).toEqual([]);
});

it('refuses a file in its place', async () => {
  await writeFile(join(dir, 'file'), '');
  await expect(tryStateDir(join(dir, 'file'))).rejects.toEqual(refused(/EEXIST/));
});

it('refuses one where nobody may write, with the reason', async () => {
  // Not even root may make files in there.
  await expect(tryStateDir('/proc/self/fd')).rejects.toEqual(
    refused(/\/proc\/self\/fd cannot be used: .*(EACCES|EPERM|ENOENT|bytes are free)/),
  );
});

it('refuses one in which others may write', async () => {
  await chmod(dir, 0o777);
  await expect(tryStateDir(dir)).rejects.toEqual(refused(/others may write there: chmod go-w/));
});

it('refuses one of another user', async () => {
  const theirs = join(dir, 'theirs');
  await mkdir(theirs);
  if (process.geteuid?.() !== 0) return expect(tryStateDir('/')).rejects.toEqual(refused(/belongs to user 0/));
  await chown(theirs, 65_534, 65_534);
  return expect(tryStateDir(theirs)).rejects.toEqual(refused(/belongs to user 65534, and this agent runs as 0/));
});
