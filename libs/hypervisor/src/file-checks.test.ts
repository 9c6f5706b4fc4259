/** What a document names as a file and is something else, or somebody else's: each once had QEMU delete, overwrite, share or wait for it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { link, mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Hypervisor } from './hypervisor.ts';
import { send } from './qemu-process.ts';

const wait = (): AbortSignal => AbortSignal.timeout(30_000);

let dir: string;
let files: string;
let hypervisor: Hypervisor;
let cleanUp: (() => unknown)[];
beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-files-');
  files = join(dir, 'files');
  await mkdir(files);
  const policy = { allowedRoots: [files], maxBytes: 1024 * 1024 };
  const options = { stateDir: join(dir, 'state'), binary: 'qemu-system-x86_64', side: 'source' } as const;
  hypervisor = await Hypervisor.open({ ...options, policy, memoryReserveBytes: 0 }, wait());
  cleanUp = [() => hypervisor[Symbol.asyncDispose]()];
});
afterEach(async () => {
  for (const each of cleanUp.toReversed()) await each();
  // Not the `rm` of Node, after which Jest resolves no links once it has met a socket (lab/src/sweep.ts).
  execFileSync('rm', ['-rf', dir]);
});

const uuid = '6fa459ea-ee8a-4ca4-894e-db77e160355e';
const document = (devices: string, os = '', name = 'web-1', id = uuid): string =>
  `<domain type='qemu'><name>${name}</name><uuid>${id}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
   <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>${os}</os><devices><controller type='usb' model='none'/>
   <memballoon model='none'/>${devices}</devices></domain>`;
const disk = (path: string): string =>
  `<disk type='file'><driver type='raw'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;
const serial = (type: string, path: string, more = ''): string =>
  `<serial type='${type}'><source path='${path}' ${more}/></serial>`;
const share = (path: string): string =>
  `<filesystem type='mount'><source dir='${path}'/><target dir='t'/></filesystem>`;
const shared = (name: string): string =>
  `<shmem name='${name}'><model type='ivshmem-plain'/><size unit='MiB'>1</size></shmem>`;

async function start(xml: string) {
  const guest = await hypervisor.create(hypervisor.read(xml), undefined, wait());
  cleanUp.push(() => send(guest.process, 'SIGKILL'));
  return guest;
}

/** By Start, and by Check before it. */
async function expectRefused(xml: string, message: RegExp): Promise<void> {
  const domain = hypervisor.read(xml);
  const matching = { message: expect.stringMatching(message) };
  expect(await hypervisor.admission.problems(domain)).toContainEqual(expect.objectContaining(matching));
  await expect(start(xml)).rejects.toMatchObject(matching);
}

const at = (name: string): string => join(files, name);
const image = async (name: string): Promise<string> => {
  await writeFile(at(name), Buffer.alloc(65_536, 7));
  return at(name);
};

describe('a file that QEMU makes', () => {
  it('unlinks no image for a socket that it listens on', async () => {
    const victim = await image('victim');
    await expectRefused(
      document(serial('unix', victim, "mode='bind'")),
      /is a regular file, where a socket or nothing is to be/,
    );
    await expectRefused(document(`<graphics type='vnc' socket='${victim}'/>`), /display-socket .* is a regular file/);
    const card = `<interface type='vhostuser'><source type='unix' path='${victim}' mode='server'/><model type='virtio'/></interface>`;
    const backing = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    await expectRefused(document(card).replace('<vcpu>', `${backing}<vcpu>`), /vhost-user-socket .* is a regular file/);
    expect(readFileSync(victim)).toHaveLength(65_536);
  });

  it('takes no socket away from the program that listens there; what a dead one left is replaced', async () => {
    const listening: Server = createServer().listen(at('socket'));
    cleanUp.push(() => listening.close());
    await once(listening, 'listening');
    await expectRefused(document(serial('unix', at('socket'), "mode='bind'")), /a socket that a program listens on/);
    execFileSync('python3', ['-c', `import socket; socket.socket(socket.AF_UNIX).bind('${at('stale')}')`]);
    await start(document(serial('unix', at('stale'), "mode='bind'")));
  });

  it('overwrites no image with what a guest writes: its own, another guest’s, or one that looks like one', async () => {
    const own = await image('own');
    await expectRefused(document(disk(own) + serial('file', own, "append='off'")), /is a guest's disk as well/);
    const other = await image('other');
    await start(document(disk(other), '', 'web-2', uuid.replace('6', '7')));
    await expectRefused(document(serial('file', other, "append='off'")), /is a guest's disk as well/);
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', at('stopped'), '1M']);
    await expectRefused(document(serial('file', at('stopped'), "append='off'")), /is a disk image/);
    const log = `<serial type='null'><log file='${at('stopped')}' append='off'/></serial>`;
    await expectRefused(document(log), /chardev-log .* is a disk image/);
    await expectRefused(
      document(`<audio id='1' type='file' path='${at('stopped')}'/>`),
      /sound-file .* is a disk image/,
    );
    expect([own, other].map((each) => readFileSync(each).length)).toEqual([65_536, 65_536]);
  });

  it('goes on with what it wrote before', async () => {
    await start(document(serial('file', at('out'))));
    await start(document(serial('file', at('out')), '', 'web-2', uuid.replace('6', '7')));
    expect(statSync(at('out')).isFile()).toBe(true);
  });

  it('leaves the directories that domains may use by no link, whether it leads somewhere or not', async () => {
    await symlink(join(dir, 'made-by-a-guest'), at('dangling'));
    await expectRefused(document(serial('file', at('dangling'))), /cannot be used on this host/);
    await expectRefused(document(serial('unix', at('dangling'), "mode='bind'")), /cannot be used on this host/);
    await writeFile(join(dir, 'outside'), '');
    await symlink(join(dir, 'outside'), at('link'));
    await expectRefused(document(serial('file', at('link'))), /outside of FERRY_DOMAIN_PATHS/);
    expect(existsSync(join(dir, 'made-by-a-guest'))).toBe(false);
  });
});

describe('a file that QEMU reads or writes', () => {
  it('is what it is to be: a FIFO holds nobody up', async () => {
    execFileSync('mknod', [at('fifo'), 'p']);
    const fifo = at('fifo');
    await expectRefused(document('', `<kernel>${fifo}</kernel>`), /kernel .* is a FIFO, where a regular file is to be/);
    await expectRefused(document('', `<loader type='rom'>${fifo}</loader>`), /firmware .* is a FIFO/);
    await expectRefused(document(disk(fifo)), /disk .* is a FIFO/);
    await expectRefused(document(serial('file', fifo)), /chardev-file .* is a FIFO/);
    const rbd = `<disk type='network'><source protocol='rbd' name='p/i'><config file='${fifo}'/></source><target dev='vda' bus='virtio'/></disk>`;
    await expectRefused(document(rbd), /network-config .* is a FIFO/);
    const modules = `<memory model='nvdimm'><source><path>${fifo}</path></source><target><size unit='MiB'>4</size></target></memory>`;
    const slots = "<maxMemory slots='2' unit='MiB'>64</maxMemory>";
    const withSlots = document(modules)
      .replace('<vcpu>', `${slots}<vcpu>`)
      .replace('</os>', '</os><features><acpi/></features>');
    await expectRefused(withSlots.replace('>16<', '>20<'), /persistent-memory .* is a FIFO/);
  });

  it('is no device that somebody has made among the images', async () => {
    const made = at('node');
    execFileSync('mknod', [made, 'b', '7', '0']);
    const block = `<disk type='block'><driver type='raw'/><source dev='${made}'/><target dev='vda' bus='virtio'/></disk>`;
    await expectRefused(document(block), /is a device outside of \/dev/);
    await expectRefused(document(disk(made)), /is a block device, where a regular file is to be/);
  });

  it('has no second name, if the guest writes to it', async () => {
    await writeFile(join(dir, 'secret'), Buffer.alloc(512));
    await link(join(dir, 'secret'), at('link'));
    await expectRefused(document(disk(at('link'))), /has another name as well, a hard link/);
    await expectRefused(document(serial('file', at('link'))), /hard link/);
    await start(document(disk(at('link')).replace('<target', '<readonly/><target')));
  });
});

describe('what is shared with a guest', () => {
  it('is no whole directory of all domains, nor one with a guest’s files', async () => {
    await expectRefused(document(share(`${files}/`)), /outside of FERRY_DOMAIN_PATHS/);
    await mkdir(at('images'));
    await image('images/other');
    await start(document(disk(at('images/other')), '', 'web-2', uuid.replace('6', '7')));
    await expectRefused(document(share(at('images'))), /contains .*images\/other, which is a guest's disk/);
    await mkdir(at('own'));
    await start(document(share(at('own'))));
  });

  it('is no memory of another program, by its name', async () => {
    const name = `ferry-test-${process.pid}`;
    const path = `/dev/shm/${name}`;
    cleanUp.push(() => rmSync(path, { force: true }));
    await writeFile(path, 'of another program');
    await expectRefused(document(shared(name)), /is of another program of this host/);
    expect(readFileSync(path, 'utf8')).toBe('of another program');
    rmSync(path);
    // Ours is taken again, by the next run of the guest and by those that it is shared with.
    await start(document(shared(name)));
    await start(document(shared(name), '', 'web-2', uuid.replace('6', '7')));
  });
});
