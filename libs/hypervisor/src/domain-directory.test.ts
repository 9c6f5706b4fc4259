import { randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainDirectory } from './domain-directory.ts';

let stateDir: string;
let directory: DomainDirectory;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'ferry-domains-'));
  directory = new DomainDirectory(stateDir);
});
afterEach(() => rm(stateDir, { recursive: true }));

const made = async (): Promise<string> => {
  const uuid = randomUUID();
  await directory.create({ uuid, name: 'web-1' }, '<domain/>');
  return uuid;
};

it('that cannot be written is no domain: the state directory’s disk is full, or fails', async () => {
  await writeFile(join(stateDir, 'domains'), '');
  await expect(made()).rejects.toMatchObject({ kind: 'state-unwritable', message: expect.stringContaining(stateDir) });
});

it('that has gone meanwhile is a domain that is not found, not an error of ours', async () => {
  const uuid = await made();
  expect(await directory.xml(uuid)).toBe('<domain/>');
  await directory.remove(uuid);
  await expect(directory.xml(uuid)).rejects.toMatchObject({ kind: 'domain-not-found' });
});

describe('the log of a QEMU', () => {
  it('is cut to its end when a guest makes it grow, and goes on behind that', async () => {
    const uuid = await made();
    const { log } = directory.paths(uuid);
    await using qemu = await open(log, 'a', 0o600);
    await qemu.write('x'.repeat(1_000));
    await directory.trimLog(uuid);
    expect((await stat(log)).size).toBe(1_000);
    for (let i = 0; i < 5; i++) await qemu.write(Buffer.alloc(2 ** 20, 0x78));
    await qemu.write('the end\n');
    await directory.trimLog(uuid);
    await qemu.write('and more\n');
    expect((await stat(log)).size).toBe(64 * 1024 + 9);
    expect(await readFile(log, 'utf8')).toMatch(/^x+the end\nand more\n$/);
  });

  it('is kept in part, of a hundred domains', async () => {
    const uuids = await Promise.all(Array.from({ length: 103 }, made));
    for (const uuid of uuids) {
      await appendFile(directory.paths(uuid).log, `${'y'.repeat(100_000)} of ${uuid}`);
      await directory.keepLog(uuid);
      await directory.remove(uuid);
    }
    const kept = await readdir(join(stateDir, 'logs'));
    expect(kept).toHaveLength(100);
    const [last = ''] = uuids.slice(-1);
    expect(kept).toContain(`${last}.log`);
    const text = await readFile(join(stateDir, 'logs', `${last}.log`), 'utf8');
    expect(text).toHaveLength(64 * 1024);
    expect(text).toMatch(new RegExp(` of ${last}$`));
  });

  it('is not kept where there is none', async () => {
    const uuid = await made();
    await directory.keepLog(uuid);
    expect(await readdir(stateDir)).toEqual(['domains']);
  });
});
