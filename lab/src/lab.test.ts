import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import { labParent } from './directory.ts';
import { Lab } from './lab.ts';
import { processesOfLab } from './processes.ts';
import { sweep } from './sweep.ts';
import { fakeAgent } from './testing/fake-command.ts';

const command = fakeAgent;

/** Where a link leads; nowhere if another lab has just taken it away. */
function target(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What is left of a lab: processes, its directory, its ports. */
function remains(dir: string): unknown {
  const links = readdirSync(labParent()).filter((name) => name.startsWith('ferry-ports-'));
  const ports = links.filter((name) => target(join(labParent(), name)) === dir);
  return { processes: processesOfLab(dir), directory: existsSync(dir), ports };
}

const nothing = { processes: [], directory: false, ports: [] };

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(10);
}

describe('a lab', () => {
  it('has hosts with two agents each, one Redis, and leaves nothing behind', async () => {
    let dir = '';
    {
      await using lab = await Lab.start({ command });
      dir = lab.dir;
      expect(await lab.redis.client.ping()).toBe('PONG');
      expect(Object.keys(lab.hosts)).toEqual(['a', 'b']);
      const addresses = lab.agents.map((agent) => agent.address);
      expect(new Set(addresses).size).toBe(4);
      expect(lab.host('a').migrationPorts).not.toEqual(lab.host('b').migrationPorts);
      expect(processesOfLab(dir)).toHaveLength(5);
      expect(lab.qemus()).toEqual([]);
    }
    expect(remains(dir)).toEqual(nothing);
  });

  it('restarts an agent at the same address, with another environment', async () => {
    await using lab = await Lab.start({ command, hosts: ['a'] });
    const { source } = lab.host('a');
    const [address, pid] = [source.address, source.pid];
    await source.kill();
    expect(source.pid).toBeUndefined();
    await source.start({ FAKE: 'recorded' });
    expect(source.address).toBe(address);
    expect(source.pid).not.toBe(pid);
    expect(source.logs()).toHaveLength(2);
    expect(source.logs('this-life')).toHaveLength(1);
    await until(() => lab.qemus().length === 1);
    expect(lab.qemus()[0]?.host).toBe('a');
  });

  it('stops, starts and kills Redis', async () => {
    await using lab = await Lab.start({ command, hosts: ['a'], agents: 'not-started', redis: { durable: true } });
    await lab.redis.client.set('kept', 'yes');
    await lab.redis.kill();
    expect(lab.redis.pid).toBeUndefined();
    await lab.redis.start();
    lab.redis.disconnect();
    expect(await lab.redis.client.get('kept')).toBe('yes');
  });

  it('says what an agent that does not start has logged, and leaves nothing behind', async () => {
    let dir = '';
    const env = ({ host, side }: { host: string; side: string }) => ({
      FAKE: host === 'b' && side === 'dest' ? 'fails' : '',
    });
    const onDirectory = (made: string) => {
      dir = made;
    };
    await expect(Lab.start({ command, env, onDirectory })).rejects.toThrow(
      /b's dest agent ended; its log:\n.*no such thing on b/,
    );
    expect(remains(dir)).toEqual(nothing);
  });

  it('leaves nothing behind when its start is given up', async () => {
    const dirs: string[] = [];
    const given = new AbortController();
    const onDirectory = (dir: string) => {
      dirs.push(dir);
      setImmediate(() => given.abort(new Error('enough')));
    };
    await expect(Lab.start({ command, onDirectory }, given.signal)).rejects.toThrow();
    expect(dirs.map(remains)).toEqual([nothing]);
  });

  it.each(['recorded', 'qemu'])('ends QEMUs with it: %s', async (FAKE) => {
    const lab = await Lab.start({ command, hosts: ['a'], env: { FAKE } });
    await lab[Symbol.asyncDispose]();
    expect(remains(lab.dir)).toEqual(nothing);
  });

  it('can be left running, and swept away later', async () => {
    const lab = await Lab.start({ command, hosts: ['a'] });
    await lab.release();
    await lab[Symbol.asyncDispose]();
    expect(processesOfLab(lab.dir)).toHaveLength(3);
    await sweep(lab.dir);
    expect(remains(lab.dir)).toEqual(nothing);
  });
});

describe('when the process that made a lab is killed', () => {
  const started = (FAKE: string): ChildProcess =>
    spawn(process.execPath, [join(import.meta.dirname, 'testing', 'killed-lab.ts')], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, FAKE },
    });

  /** Reads the directory, then lets the lab grow to `processes` processes or to `up`, and kills its maker. */
  async function killAt(moment: number | 'up', signal: NodeJS.Signals, FAKE = ''): Promise<string> {
    const maker = started(FAKE);
    if (maker.stdout === null) throw new Error('no stdout');
    const lines = createInterface({ input: maker.stdout })[Symbol.asyncIterator]();
    const dir = String((await lines.next()).value);
    if (moment === 'up') await lines.next();
    else await until(() => processesOfLab(dir).length >= moment);
    maker.kill(signal);
    if (maker.exitCode === null && maker.signalCode === null) await once(maker, 'exit');
    return dir;
  }

  it.each([
    ['at once', 0, 'SIGKILL'],
    ['with Redis started', 1, 'SIGTERM'],
    ['with some agents started', 3, 'SIGKILL'],
    ['when it is up', 'up', 'SIGINT'],
    ['when it is up', 'up', 'SIGKILL'],
  ] as const)('%s, nothing is left behind (%s, %s)', async (_, moment, signal) => {
    const dir = await killAt(moment, signal);
    await until(() => JSON.stringify(remains(dir)) === JSON.stringify(nothing));
  });

  it('nothing is left of its QEMUs either', async () => {
    const dir = await killAt('up', 'SIGKILL', 'recorded');
    await until(() => JSON.stringify(remains(dir)) === JSON.stringify(nothing));
  });
});

describe('sweeping', () => {
  it.each(['/tmp', '/tmp/../etc/ferry-0123abcd', '/home/ferry-0123abcd', '/tmp/other'])('refuses %s', async (dir) => {
    await expect(sweep(dir)).rejects.toThrow(/not the directory of a lab/);
  });
});
