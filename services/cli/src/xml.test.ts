import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { buildGuest, guestXml } from '@ferry/guest';
import { runWith } from './testing/run-ferry.ts';

const documents = join(import.meta.dirname, '../../../libs/domain-xml/src/testing/documents');
const ofTest = (name: string): string => join(documents, name);

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-xml-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

const written = (name: string, content: string | Buffer): string => {
  const file = join(dir, name);
  writeFileSync(file, content);
  return file;
};

interface Line {
  readonly file: string;
  readonly ok: boolean;
  readonly xml?: string;
  readonly argv?: string[];
  readonly refused: { path: string; line: number; what: string; hint: string }[];
}

/** No host is asked: there is no hosts file to be found. */
async function ferryXml(...args: string[]): Promise<{ status: number | null; lines: Line[]; stderr: string }> {
  const { status, stdout, stderr } = await runWith({ FERRY_HOSTS: '/nowhere' }, ['xml', ...args, '--json']);
  const lines = stdout
    .split('\n')
    .filter(Boolean)
    .map((line): Line => JSON.parse(line));
  return { status, lines, stderr };
}

const foreign = (arch: string, machine: string): string =>
  `<domain type='qemu'><name>x</name><memory>65536</memory><os><type arch='${arch}' machine='${machine}'>hvm</type></os></domain>`;

describe('ferry xml complete', () => {
  it('finds files from where it is called, by way of ./dev too', async () => {
    written('here.xml', readFileSync(ofTest('web-server.in.xml')));
    const dev = join(import.meta.dirname, '../../../dev');
    const { stdout, stderr } = await promisify(execFile)(dev, ['ferry', 'xml', 'complete', 'here.xml'], { cwd: dir });
    expect({ stdout, stderr }).toEqual({ stderr: '', stdout: readFileSync(ofTest('web-server.out.xml'), 'utf8') });
  });

  it('prints the completed document', async () => {
    const ran = await runWith({}, ['xml', 'complete', ofTest('web-server.in.xml')]);
    expect(ran).toEqual({ status: 0, stderr: '', stdout: readFileSync(ofTest('web-server.out.xml'), 'utf8') });
  });

  it('says of each file in turn what became of it, and ends with 1 if any was refused', async () => {
    const files = ['tiny-rom', 'refused', 'old-pc'].map((name) => ofTest(`${name}.in.xml`));
    const { status, lines, stderr } = await ferryXml('complete', ...files);
    expect([status, stderr]).toEqual([1, '']);
    expect(lines.map(({ file, ok }) => [file, ok])).toEqual(files.map((file, i) => [file, i !== 1]));
    const expected = (name: string) => readFileSync(ofTest(`${name}.out.xml`), 'utf8').trimEnd();
    expect(lines[0]).toEqual({ file: files[0], ok: true, xml: expect.any(String), refused: [] });
    expect(lines[0]?.xml?.trimEnd()).toBe(expected('tiny-rom'));
    expect(lines[2]?.xml?.trimEnd()).toBe(expected('old-pc'));
    expect(lines[1]).not.toHaveProperty('xml');
    expect(lines[1]?.refused).toContainEqual({
      path: '/domain/devices/hostdev',
      line: 9,
      what: 'element <hostdev> is not supported',
      hint: expect.stringMatching(/./),
    });
  });

  it('goes on after a file that is no document', async () => {
    const bad: [string, string, RegExp][] = [
      ['a file that is not there', join(dir, 'missing.xml'), /cannot be read: ENOENT/],
      ['a directory', dir, /cannot be read: EISDIR/],
      ['an empty one', written('empty.xml', ''), /well-formed/],
      ['binary data', written('binary.xml', Buffer.from([0xff, 0xfe, 0x00, 0xd8])), /not UTF-8/],
      ['an endless one', '/dev/zero', /more than 1048576 bytes/],
      ['half of one', written('half.xml', "<domain type='qemu'><name>x</name>"), /well-formed/],
      ['something else', written('network.xml', '<network><name>x</name></network>'), /<network>/],
      ['one of another architecture', written('arm.xml', foreign('aarch64', 'virt')), /aarch64/],
      ['one of a mainframe', written('s390.xml', foreign('s390x', 's390-ccw-virtio')), /s390x/],
      ['one without anything', written('bare.xml', '<domain/>'), /type|name|memory/],
    ];
    const good = ofTest('tiny-rom.in.xml');
    const files = bad.map(([, file]) => file);
    for (const which of ['complete', 'qemu']) {
      const { status, lines } = await ferryXml(which, ...files, good);
      expect(status).toBe(1);
      expect(lines.map(({ file, ok }) => [file, ok])).toEqual([...files.map((file) => [file, false]), [good, true]]);
      for (const [i, [name, , why]] of bad.entries()) {
        expect([name, lines[i]?.refused.map(({ what }) => what).join()]).toEqual([name, expect.stringMatching(why)]);
        for (const { path, hint } of lines[i]?.refused ?? []) expect([path, hint]).not.toContain('');
      }
    }
  });

  it('names file, line and place of what it refuses, for people', async () => {
    const file = ofTest('refused.in.xml');
    const { status, stdout, stderr } = await runWith({}, ['xml', 'complete', file]);
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toContain(
      `${file}:9: /domain/devices/hostdev: element <hostdev> is not supported. A device of the host cannot be moved\n`,
    );
    expect(stderr).toMatch(/ferry: the document was refused\n$/);
  });

  it('takes hundreds of files in one call', async () => {
    const one = readFileSync(ofTest('old-pc.in.xml'), 'utf8');
    const files = Array.from({ length: 400 }, (_, i) => written(`many-${i}.xml`, one));
    const { status, lines } = await ferryXml('complete', ...files);
    expect([status, lines.length]).toEqual([0, 400]);
    expect(new Set(lines.map(({ xml }) => xml)).size).toBe(1);
  });

  it('needs a file', async () => {
    const { status, stderr } = await runWith({}, ['xml', 'complete']);
    expect([status, stderr]).toEqual([2, expect.stringContaining("missing required argument 'file'")]);
  });
});

describe('ferry xml qemu', () => {
  it('takes arguments of the document only where the environment allows it', async () => {
    const xml = readFileSync(ofTest('tiny-rom.in.xml'), 'utf8').replace(
      '</devices>',
      '</devices><q:commandline xmlns:q="http://libvirt.org/schemas/domain/qemu/1.0"><q:arg value="-x,y"/></q:commandline>',
    );
    const args = ['xml', 'qemu', written('more.xml', xml)];
    expect((await runWith({}, args)).stderr).toContain('commandline> is not supported. FERRY_QEMU_COMMANDLINE');
    const { status, stdout } = await runWith({ FERRY_QEMU_COMMANDLINE: 'allow' }, args);
    expect([status, stdout.endsWith('-x,y\n')]).toEqual([0, true]);
    const listed = await runWith({ FERRY_QEMU_COMMANDLINE: written('arguments', '-S\n') }, args);
    expect([listed.status, listed.stderr]).toEqual([1, expect.stringContaining('this host does not allow "-x,y"')]);
    const missing = await runWith({ FERRY_QEMU_COMMANDLINE: join(dir, 'none') }, args);
    expect([missing.status, missing.stderr]).toEqual([2, expect.stringContaining('FERRY_QEMU_COMMANDLINE')]);
  });

  it('gives a command line that QEMU takes as it is', async () => {
    const rom = await buildGuest();
    const serial = { type: 'file', path: join(dir, 'console') } as const;
    const file = written('guest.xml', guestXml({ name: 'web-1', memoryMiB: 32, dirty: '1M', rom, serial }));
    const { status, lines } = await ferryXml('qemu', file);
    expect([status, lines[0]?.ok]).toEqual([0, true]);
    expect(lines[0]).not.toHaveProperty('xml');
    const [program = '', ...args] = lines[0]?.argv ?? [];
    expect(program).toBe('qemu-system-x86_64');
    expect(await nameOf(program, args)).toBe('web-1');
  });

  it('prints it so that a shell takes it', async () => {
    const file = ofTest('web-server.in.xml');
    const [{ lines }, { stdout }] = await Promise.all([ferryXml('qemu', file), runWith({}, ['xml', 'qemu', file])]);
    const shell = spawn('sh', ['-c', `show() { printf '%s\\n' "$@"; }; show ${stdout}`]);
    let shown = '';
    for await (const piece of shell.stdout) shown += String(piece);
    expect(shown.trimEnd().split('\n')).toEqual(lines[0]?.argv);
  });
});

/** Starts QEMU and asks it over stdio for its guest's name; it quits then. */
async function nameOf(program: string, args: readonly string[]): Promise<unknown> {
  const qemu = spawn(program, [...args, '-qmp', 'stdio'], { stdio: 'pipe' });
  try {
    qemu.stdin.end(['qmp_capabilities', 'query-name', 'quit'].map((execute) => JSON.stringify({ execute })).join('\n'));
    let said = '';
    for await (const piece of qemu.stdout) said += String(piece);
    const reply = said.split('\n').find((line) => line.includes('"name"'));
    const read: { return: { name: string } } = JSON.parse(reply ?? '{"return": {}}');
    return read.return.name;
  } finally {
    qemu.kill('SIGKILL');
  }
}
