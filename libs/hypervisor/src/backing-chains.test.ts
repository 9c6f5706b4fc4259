/** Images whose headers name files of the host: made with qemu-img, as their author would, and started with real QEMUs. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Hypervisor } from './hypervisor.ts';
import { send } from './qemu-process.ts';

const wait = (): AbortSignal => AbortSignal.timeout(30_000);

let dir: string;
let images: string;
let secret: string;
let hypervisor: Hypervisor;
let cleanUp: (() => Promise<unknown>)[];
beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-chain-');
  images = join(dir, 'images');
  await mkdir(images);
  secret = join(dir, 'secret');
  await writeFile(secret, 'host secret'.padEnd(65_536, '!'));
  const policy = { allowedRoots: [images], maxBytes: 1024 * 1024 };
  const options = { stateDir: join(dir, 'state'), binary: 'qemu-system-x86_64', side: 'source' } as const;
  hypervisor = await Hypervisor.open({ ...options, policy, memoryReserveBytes: 0 }, wait());
  cleanUp = [() => hypervisor[Symbol.asyncDispose]()];
});
afterEach(async () => {
  for (const each of cleanUp.toReversed()) await each().catch(() => undefined);
  // Not the `rm` of Node, after which Jest resolves no links once it has met a socket (lab/src/sweep.ts).
  execFileSync('rm', ['-rf', dir]);
});

const qemuImg = (...args: string[]): void => void execFileSync('qemu-img', args, { cwd: images, stdio: 'pipe' });
/** An image above another; `-u`: whatever that is. */
const overlay = (name: string, backing: string, format: string, ...more: string[]): void =>
  qemuImg('create', '-q', '-u', '-f', 'qcow2', '-b', backing, '-F', format, ...more, name, '1M');

const document = (image: string, inside = '', format = 'qcow2'): string =>
  `<domain type='qemu'><name>web-1</name><uuid>6fa459ea-ee8a-4ca4-894e-db77e160355e</uuid><memory unit='MiB'>16</memory>
   <vcpu>1</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices><controller type='usb' model='none'/>
   <memballoon model='none'/><disk type='file' device='disk'><driver name='qemu' type='${format}'/>
   <source file='${join(images, image)}'/>${inside}<target dev='vda' bus='virtio'/></disk></devices></domain>`;

async function start(xml: string) {
  const guest = await hypervisor.create(hypervisor.read(xml), undefined, wait());
  cleanUp.push(() => send(guest.process, 'SIGKILL'));
  return guest;
}

/** Refused by Start, and by Check before it. */
async function expectRefused(xml: string, message: RegExp): Promise<void> {
  const problems = await hypervisor.admission.problems(hypervisor.read(xml));
  expect(problems).toMatchObject([{ kind: 'file-refused', message: expect.stringMatching(message) }]);
  await expect(start(xml)).rejects.toMatchObject({ kind: 'file-refused' });
}

/** The files that a QEMU has open. */
async function filesOpen(pid: number): Promise<string> {
  return execFileSync('sh', ['-c', `ls -l /proc/${pid}/fd`], { encoding: 'utf8' });
}

describe('an image whose author chose', () => {
  it('a backing file outside of the directories that domains may use is refused: the guest would read it', async () => {
    for (const [name, backing] of Object.entries({ absolute: secret, relative: '../secret' })) {
      overlay(name, backing, 'raw');
      await expectRefused(document(name), /names .*secret.* below it, which is outside of FERRY_DOMAIN_PATHS/);
    }
    await symlink(secret, join(images, 'link'));
    overlay('linked', 'link', 'raw');
    await expectRefused(document('linked'), /secret/);
  });

  it('an external data file is refused: the guest would write to it', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'data_file=data,data_file_raw=on', 'image', '64k');
    // Its author needs no such file: the header names any.
    const bytes = await readFile(join(images, 'image'));
    const at = bytes.indexOf('data\0');
    expect(at).toBeGreaterThan(0);
    await expectRefused(document('image'), /keeps its data in another file/);
    overlay('above', 'image', 'qcow2');
    await expectRefused(document('above'), /image .*images\/image .* keeps its data in another file/);
  });

  it.each([
    ['json:{"driver":"file","filename":"/etc/passwd"}', 'raw'],
    ['nbd://127.0.0.1:1/x', 'raw'],
    ['nbd+unix:///x?socket=/s', 'raw'],
    ['file:/etc/passwd', 'raw'],
    ['fat:rw:/etc', 'raw'],
    ['http://127.0.0.1/x', 'raw'],
  ])('%s is refused', async (backing, format) => {
    overlay('image', backing, format);
    await expectRefused(document('image'), /no plain file/);
  });

  it('a backing file of a format that QEMU would guess is refused', async () => {
    qemuImg('create', '-q', '-f', 'raw', 'base', '1M');
    overlay('image', 'base', 'vmdk');
    await expectRefused(document('image'), /without a format that Ferry knows: set it with qemu-img rebase/);
  });

  it('more images than 16 below each other, or a loop, is refused', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'l0', '1M');
    for (let i = 1; i <= 17; i += 1) overlay(`l${i}`, `l${i - 1}`, 'qcow2');
    await expectRefused(document('l17'), /more than 16 images below it/);
    overlay('a', 'b', 'qcow2');
    overlay('b', 'a', 'qcow2');
    await expectRefused(document('a'), /or is below itself/);
    await start(document('l16'));
  });

  it('firmware with an image below it is refused', async () => {
    overlay('code', secret, 'raw');
    qemuImg('create', '-q', '-f', 'qcow2', 'disk', '1M');
    const xml = document('disk').replace(
      '</os>',
      `<loader readonly='yes' type='pflash' stateless='yes' format='qcow2'>${join(images, 'code')}</loader></os>`,
    );
    await expectRefused(
      xml.replace('</os>', '</os><features><acpi/></features>'),
      /is firmware with an image below it/,
    );
  });
});

describe('a chain of images', () => {
  it('is what its headers say, found out before QEMU starts', async () => {
    qemuImg('create', '-q', '-f', 'raw', 'base', '1M');
    await mkdir(join(images, 'below'));
    overlay('below/middle', '../base', 'raw');
    overlay('top', join(images, 'below', 'middle'), 'qcow2');
    const guest = await start(document('top'));
    const open = await filesOpen(guest.process.pid);
    for (const name of ['top', 'below/middle', 'base']) expect(open).toContain(join(images, name));
    const nodes = await readFile(`/proc/${guest.process.pid}/cmdline`, 'utf8');
    expect(nodes).toContain('"backing":"virtio-disk0-backing1"');
    expect(nodes).toContain('"backing":"virtio-disk0-backing2"');
  });

  it('ends where the document or the last header says so: QEMU opens nothing more', async () => {
    overlay('top', secret, 'raw');
    const guest = await start(document('top', '<backingStore/>'));
    expect(await filesOpen(guest.process.pid)).not.toContain(secret);
    expect(await readFile(`/proc/${guest.process.pid}/cmdline`, 'utf8')).toContain('"backing":null');
  });

  it('that a document names goes on with the headers of what it names', async () => {
    overlay('middle', secret, 'raw');
    overlay('top', 'middle', 'qcow2');
    const named = (more: string) =>
      `<backingStore type='file'><format type='qcow2'/><source file='${join(images, 'middle')}'/>${more}</backingStore>`;
    await expectRefused(document('top', named('')), /images\/middle .*secret/);
    const guest = await start(document('top', named('<backingStore/>')));
    expect(await filesOpen(guest.process.pid)).not.toContain(secret);
  });

  it('is no matter of a raw disk, whatever its guest has written into it', async () => {
    overlay('image', secret, 'raw');
    await truncate(join(images, 'image'), 1024 * 1024);
    const guest = await start(document('image', '', 'raw'));
    expect(await filesOpen(guest.process.pid)).not.toContain(secret);
  });
});
