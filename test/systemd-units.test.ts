/** The units of deploy/systemd against the agents that they start. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import { startRedis } from '@ferry/jobs/testing';

const root = join(import.meta.dirname, '..');

/** The values of a setting, in their order. */
function settingOf(side: string, name: string): string[] {
  const unit = readFileSync(join(root, 'deploy/systemd', `ferry-${side}-agent.service`), 'utf8');
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => value);
}

/** Runs an agent to its end. */
async function runAgent(side: string, env: Record<string, string>): Promise<{ status: unknown; said: string }> {
  const cwd = join(root, 'services', `${side}-agent`);
  const args = [join(cwd, 'src', 'main.ts')];
  const agent = spawn(process.execPath, args, {
    cwd,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const [said, [status]] = await Promise.all([text(agent.stderr), once(agent, 'exit') as Promise<unknown[]>]);
  return { status, said };
}

describe.each(['source', 'dest'])('the unit of the %s agent', (side) => {
  it('does not start it again after a configuration that cannot be used', async () => {
    const { status, said } = await runAgent(side, { FERRY_LISTEN: 'nowhere' });
    expect(said).toContain('FERRY_LISTEN');
    expect(settingOf(side, 'RestartPreventExitStatus')).toEqual([String(status)]);
  });

  it('starts it again where it cannot listen yet', async () => {
    await using redis = await startRedis();
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const stateDir = mkdtempSync(join(tmpdir(), 'ferry-units-'));
    const { status, said } = await runAgent(side, {
      FERRY_HOST: 'a',
      FERRY_LISTEN: `127.0.0.1:${port}`,
      FERRY_INSECURE_LOOPBACK: '1',
      FERRY_REDIS_URL: redis.socket,
      FERRY_STATE_DIR: stateDir,
    });
    other.close();
    rmSync(stateDir, { recursive: true });
    expect(said).toContain(`cannot listen on 127.0.0.1:${port}`);
    expect(status).toBe(75);
    expect(settingOf(side, 'RestartPreventExitStatus')).not.toContain('75');
  });
});
