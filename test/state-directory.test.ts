/** An agent whose state directory cannot be used does not serve: its process ends with status 78 and says why, before any migration depends on it. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-state-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** The directory is tried before anything else is looked for: neither of these ports is connected to. */
function startAgent(side: string, stateDir: string): { status: number | null; stderr: string } {
  const cwd = join(import.meta.dirname, '..', 'services', `${side}-agent`);
  const env = {
    PATH: process.env['PATH'],
    FERRY_HOST: 'a',
    FERRY_LISTEN: '127.0.0.1:1',
    FERRY_REDIS_URL: 'redis://127.0.0.1:1',
    FERRY_INSECURE_LOOPBACK: '1',
    FERRY_STATE_DIR: stateDir,
  };
  const args = [join(cwd, 'src', 'main.ts')];
  return spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8', timeout: 60_000 });
}

describe.each(['source', 'dest'])('the %s agent', (side) => {
  it.each([
    ['is a file', /EEXIST|ENOTDIR/, (path: string) => writeFileSync(path, '')],
    ['lies in a file', /ENOTDIR/, (path: string) => writeFileSync(join(path, '..'), '')],
    [
      'others may write to',
      /its group or others may write there: chmod go-w/,
      (path: string) => {
        mkdirSync(path);
        chmodSync(path, 0o777);
      },
    ],
  ])('does not serve where it %s', (what, why, make) => {
    const stateDir = what === 'lies in a file' ? join(dir, 'file', 'state') : join(dir, 'state');
    make(stateDir);
    const { status, stderr } = startAgent(side, stateDir);
    expect({ status, stderr }).toEqual({
      status: 78,
      stderr: expect.stringContaining(`FERRY_STATE_DIR ${stateDir} cannot be used: `),
    });
    expect(stderr).toMatch(why);
  });
});
