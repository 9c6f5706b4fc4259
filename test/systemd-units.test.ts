/** The units of deploy/systemd against the agents that they start. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const root = join(import.meta.dirname, '..');

/** The values of a setting, in their order. */
function settingOf(side: string, name: string): string[] {
  const unit = readFileSync(join(root, 'deploy/systemd', `ferry-${side}-agent.service`), 'utf8');
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value);
}

describe.each(['source', 'dest'])('the unit of the %s agent', (side) => {
  it('is not started again after a configuration that cannot be used', () => {
    const cwd = join(root, 'services', `${side}-agent`);
    const args = ['--import', '@ferry/agent/telemetry', join(cwd, 'src', 'main.ts')];
    const { status, stderr } = spawnSync(process.execPath, args, {
      cwd,
      env: { FERRY_LISTEN: 'nowhere' },
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: expect.any(Number), stderr: expect.stringContaining('FERRY_LISTEN') });
    expect(settingOf(side, 'RestartPreventExitStatus')).toEqual([String(status)]);
  });
});
