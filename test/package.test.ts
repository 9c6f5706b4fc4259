/** What `./dev package` makes: the same bytes each time, with all that a host needs, and a configuration file that says what the code says. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readConfig } from '@ferry/agent';

const root = join(import.meta.dirname, '..');
let dir: string;
let made: string[];
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-packages-'));
  for (const to of ['one', 'two'])
    execFileSync(process.execPath, [join(root, 'tools/package.ts'), join(dir, to)], {
      cwd: dir,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  made = readdirSync(join(dir, 'one')).toSorted();
}, 300_000);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
const fileOf = (ending: string): string => join(dir, 'one', made.find((name) => name.endsWith(ending)) ?? '');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

it('are the same bytes each time', () => {
  expect(made).toEqual([`ferry-${version}-linux-x64.tar.gz`, `ferry_${version}_amd64.deb`]);
  for (const name of made)
    expect([name, readFileSync(join(dir, 'one', name)).equals(readFileSync(join(dir, 'two', name)))]).toEqual([
      name,
      true,
    ]);
});

describe('the Debian package', () => {
  it('has programs, units and configuration where Debian has them', () => {
    // MODE OWNER/GROUP SIZE DATE TIME ./NAME
    const files = run('dpkg-deb', '--contents', fileOf('.deb'))
      .split('\n')
      .filter((line) => line.startsWith('-'));
    const found = new Map(
      files
        .map((line) => line.split(/\s+/))
        .map(([mode, owner, , , , name = '']) => [name.slice(1), `${mode} ${owner}`]),
    );
    const [plain, program] = ['-rw-r--r-- root/root', '-rwxr-xr-x root/root'];
    expect(Object.fromEntries(found)).toMatchObject({
      '/usr/bin/ferry': program,
      '/usr/sbin/ferry-agent': program,
      '/usr/lib/ferry/node': program,
      '/usr/lib/ferry/source-agent.mjs': program,
      '/usr/lib/ferry/dest-agent.mjs': program,
      '/usr/lib/ferry/ferry.mjs': program,
      '/usr/lib/systemd/system/ferry-source-agent.service': plain,
      '/usr/lib/systemd/system/ferry-dest-agent.service': plain,
      '/usr/lib/sysusers.d/ferry.conf': plain,
      '/usr/lib/tmpfiles.d/ferry.conf': plain,
      '/usr/share/doc/ferry/copyright': plain,
      '/etc/ferry/agent.env': '-rw------- root/root',
    });
    expect([...found.keys()].filter((name) => name.startsWith('/usr/lib/ferry/cache/'))).not.toEqual([]);
  });

  it('names its version, what it needs and what is configuration', () => {
    const fields = run('dpkg-deb', '--field', fileOf('.deb'));
    expect(fields).toContain(`Package: ferry\nVersion: ${version}\nArchitecture: amd64\n`);
    expect(fields).toMatch(/^Depends: .*qemu-system-x86 \(>= 1:7\.2\)/m);
    expect(run('dpkg-deb', '--info', fileOf('.deb'), 'conffiles')).toBe('/etc/ferry/agent.env\n');
  });

  it('has units whose programs are in it, and which systemd understands', () => {
    const tree = join(dir, 'tree');
    run('dpkg-deb', '--extract', fileOf('.deb'), tree);
    for (const side of ['source', 'dest']) {
      const unit = readFileSync(join(tree, `usr/lib/systemd/system/ferry-${side}-agent.service`), 'utf8');
      const [node = '', script = ''] = (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '').split(' ');
      expect(run(join(tree, node), '--version').trim()).toBe(process.version);
      expect(readFileSync(join(tree, script), 'utf8')).toContain(`lib/${side}-agent.mjs`);
    }
    expect(run(join(tree, 'usr/lib/ferry/node'), join(tree, 'usr/lib/ferry/ferry.mjs'), '--version')).toContain(
      version,
    );
  });

  it('has every variable of the agents in its configuration, with the default that it has in the code', () => {
    const settings = readFileSync(join(dir, 'tree/etc/ferry/agent.env'), 'utf8');
    const lines = [...settings.matchAll(/^#(FERRY_[A-Z_]+)=(.*)$/gm)].map(
      ([, name = '', value = '']) => [name, value] as const,
    );
    const known = new Set(readFileSync(join(root, 'libs/agent/src/config.ts'), 'utf8').match(/\bFERRY_[A-Z_]+\b/g));
    expect(new Set(lines.map(([name]) => name))).toEqual(known);
    const least = { FERRY_LISTEN: '127.0.0.1:1', FERRY_INSECURE_LOOPBACK: '1', FERRY_REDIS_URL: '/redis' };
    for (const [name, value] of lines)
      expect([name, readConfig({ [name]: value, ...least })]).toEqual([name, readConfig(least)]);
  });
});

it('the tarball has the same programs, beside each other', () => {
  const names = run('tar', '-tzf', fileOf('.tar.gz')).split('\n');
  const top = `ferry-${version}-linux-x64`;
  const wanted = [
    'node',
    'source-agent.mjs',
    'dest-agent.mjs',
    'ferry.mjs',
    'ferry',
    'ferry-agent',
    'agent.env',
    'VERSION',
    'LICENSES',
  ];
  expect(names).toEqual(expect.arrayContaining(wanted.map((name) => `${top}/${name}`)));
  expect(names).toContain(`${top}/systemd/ferry-source-agent.service`);
});
