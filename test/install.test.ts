/** docs/install.md as it is written, on a host with a systemd of its own: from the package to agents that serve, an upgrade beside a guest, and away again. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { eventually } from './world.ts';

const root = join(import.meta.dirname, '..');
const needed = ['/lib/systemd/systemd', '/sys/fs/cgroup/unified', '/usr/bin/dbus-daemon', '/usr/bin/openssl'];
const missing = process.getuid?.() === 0 ? needed.filter((path) => !existsSync(path)) : ['root'];
if (missing.length > 0)
  console.warn(
    `docs/install.md is not tried here, for want of ${missing.join(', ')}: apt-get install systemd dbus openssl`,
  );

/** A host that has this machine's files, and its own of everything else but the network. */
class Host implements AsyncDisposable {
  readonly #name = `ferry-install-${process.pid}`;
  readonly #unshare;
  readonly #dir: string;
  #pid = 0;

  constructor(dir: string) {
    this.#dir = dir;
    // It ends with whoever runs the tests, however that ends.
    const boot = ['bash', join(root, 'test/systemd/boot.sh'), this.#name, dir];
    this.#unshare = spawn('setpriv', ['--pdeathsig', 'KILL', ...boot], { stdio: 'ignore' });
  }

  /** Runs a script in it; gives status and output. */
  run(script: string): { status: number | null; output: string } {
    // Bash takes a socket on its standard input for a remote login, and would read this machine’s .bashrc.
    const args = [
      '-t',
      String(this.#pid),
      '-m',
      '-p',
      '-u',
      '-i',
      '-C',
      'bash',
      '--norc',
      '-c',
      `exec 2>&1\n${script}`,
    ];
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', DEBIAN_FRONTEND: 'noninteractive' };
    const { status, stdout } = spawnSync('nsenter', args, { env, encoding: 'utf8', maxBuffer: 2 ** 26 });
    return { status, output: stdout };
  }

  async booted(): Promise<void> {
    await eventually('systemd runs', () => {
      const found = spawnSync('pgrep', ['-P', String(this.#unshare.pid)], { encoding: 'utf8' }).stdout.trim();
      this.#pid = Number(found);
      return found !== '' && /^(running|degraded)$/.test(this.run('systemctl is-system-running').output.trim());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#unshare, 'exit');
    this.#unshare.kill('SIGKILL');
    await ended;
    await eventually('its processes are gone', () => {
      const { status } = spawnSync('find', [
        `/sys/fs/cgroup/unified/${this.#name}`,
        '-depth',
        '-type',
        'd',
        '-exec',
        'rmdir',
        '{}',
        ';',
      ]);
      return status === 0 && !existsSync(`/sys/fs/cgroup/unified/${this.#name}`);
    });
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** The commands of the page, in their order, but for what is done in a checkout. */
function commandsOf(page: string): string[] {
  const blocks = [...page.matchAll(/(<!-- checkout -->\n)?```sh\n([^]*?)```/g)];
  return blocks.filter(([, inCheckout]) => inCheckout === undefined).map(([, , commands = '']) => commands);
}

(missing.length === 0 ? it : it.skip)(
  'installs, serves, is upgraded beside a guest, and leaves nothing',
  async () => {
    const files = mkdtempSync('/var/tmp/ferry-install-');
    await using cleanup = new AsyncDisposableStack();
    cleanup.defer(() => rmSync(files, { recursive: true, force: true }));
    execFileSync(process.execPath, [join(root, 'tools/package.ts'), files], { stdio: ['ignore', 'ignore', 'inherit'] });
    const host = cleanup.use(new Host(mkdtempSync('/var/tmp/ferry-host-')));
    await host.booted();
    // The page's addresses are for documentation; Redis is not its matter.
    const here = (text: string): string =>
      text.replaceAll('192.0.2.10', '127.0.0.1').replace(/FERRY_REDIS_URL=.*/, 'FERRY_REDIS_URL=/run/redis.sock');
    const redis =
      'systemd-run -q --unit=redis-test redis-server --port 0 --unixsocket /run/redis.sock --appendonly yes --dir /run';
    expect(host.run(redis)).toEqual({ status: 0, output: '' });
    const qemu = (): string => host.run("pgrep -f '^qemu-system.*guest=demo'").output.trim();
    let before = '';
    for (const commands of commandsOf(readFileSync(join(root, 'docs/install.md'), 'utf8')).map(here)) {
      // Who reads the page takes longer than an agent to start.
      if (/^ferry /m.test(commands)) await eventually('the agents serve', () => host.run('ferry list').status === 0);
      const ran = host.run(`set -euo pipefail\ncd ${files}\n${commands}`);
      expect({ commands, ...ran }).toEqual({ commands, status: 0, output: expect.anything() });
      if (commands.includes('ferry start')) before = qemu();
      if (commands.includes('--reinstall')) expect([before, qemu()]).toEqual([expect.stringMatching(/^\d+$/), before]);
    }
    const left = host.run(
      'ls -d /usr/lib/ferry /usr/bin/ferry /usr/sbin/ferry-agent /var/lib/ferry /etc/ferry/agent.env /usr/lib/systemd/system/ferry-*; pgrep -fa ^/usr/lib/ferry; true',
    ).output;
    expect(left.split('\n').filter((line) => line !== '' && !line.includes('No such file'))).toEqual([]);
  },
  300_000,
);
