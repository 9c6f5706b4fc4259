import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { slowness } from './slowness.ts';

const root = join(import.meta.dirname, '..');

/** Runs a test file of its own in a directory of this project; gives what Jest says. */
function run(text: string, env: Record<string, string>): { status: number | null; said: string } {
  const dir = mkdtempSync(join(root, '.tools/slow-'));
  try {
    const file = join(dir, 'slow.test.ts');
    writeFileSync(file, text);
    const config = {
      rootDir: root,
      testEnvironment: './tools/test-environment.js',
      transform: { '^.+\\.ts$': ['@swc/jest'] },
    };
    const jest = ['--experimental-vm-modules', join(root, 'node_modules/jest/bin/jest.js'), '--runTestsByPath', file];
    const args = [...jest, '--config', JSON.stringify({ ...config, extensionsToTreatAsEsm: ['.ts'] })];
    const { status, stderr } = spawnSync(process.execPath, args, {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, ...env },
    });
    return { status, said: stderr };
  } finally {
    rmSync(dir, { recursive: true });
  }
}

it('is never less than 1, and bounded', () => {
  const now = slowness();
  expect(now).toBeGreaterThanOrEqual(1);
  expect(now).toBeLessThanOrEqual(8);
});

it('stretches the limit of a test and of a hook, but not without end', () => {
  // The limit is 1 ms, or 60 s on a machine that is so slow.
  const body = `
    import { setTimeout as delay } from 'node:timers/promises';
    import { beforeAll, it } from '@jest/globals';
    beforeAll(() => delay(20), 1);
    it('waits', () => delay(20), 1);
  `;
  expect(run(body, { FERRY_TEST_SLOWNESS: '60000' })).toMatchObject({ status: 0 });
  const usual = run(body, { FERRY_TEST_SLOWNESS: '1' });
  expect(usual.status).toBe(1);
  expect(usual.said).toContain('Exceeded timeout of 1 ms');
});
