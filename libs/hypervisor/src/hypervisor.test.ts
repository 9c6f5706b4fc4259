/** Real QEMUs: started, found again by another agent, adopted, ended. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { qemuArguments } from '@ferry/domain-xml';
import { type Guest, Hypervisor, type HypervisorOptions } from './hypervisor.ts';
import { identify, isAlive, send, waitGone } from './qemu-process.ts';

const uuid = '6fa459ea-ee8a-4ca4-894e-db77e160355e';
const wait = (): AbortSignal => AbortSignal.timeout(30_000);

let dir: string;
let options: HypervisorOptions;
/** QEMUs of the test's own, and agents, ended whatever happens. */
let cleanUp: (() => Promise<unknown>)[];

beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-hv-');
  await mkdir(join(dir, 'disks'));
  const policy = { allowedRoots: [join(dir, 'disks')], maxBytes: 1024 * 1024 };
  options = {
    stateDir: join(dir, 'state'),
    binary: 'qemu-system-x86_64',
    side: 'source',
    policy,
    memoryReserveBytes: 0,
  };
  cleanUp = [];
});
afterEach(async () => {
  for (const each of cleanUp.toReversed()) await each().catch(() => undefined);
  await rm(dir, { recursive: true, force: true });
});

async function open(change: Partial<HypervisorOptions> = {}): Promise<Hypervisor> {
  const hypervisor = await Hypervisor.open({ ...options, ...change }, wait());
  cleanUp.push(() => hypervisor[Symbol.asyncDispose]());
  return hypervisor;
}

const document = (inside = '', name = 'web-1', id = uuid): string =>
  `<domain type='qemu'><name>${name}</name><uuid>${id}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
   <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices><controller type='usb' model='none'/><memballoon model='none'/>${inside}</devices></domain>`;
const disk = (path: string): string =>
  `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;

async function started(hypervisor: Hypervisor, xml = document()) {
  const guest = await hypervisor.create(hypervisor.read(xml), undefined, wait());
  cleanUp.push(() => send(guest.process, 'SIGKILL'));
  return guest;
}

describe('a domain', () => {
  it('is started with its CPUs stopped, and is found by name and by UUID', async () => {
    const hypervisor = await open();
    const guest = await started(hypervisor);
    expect(await guest.monitor.execute('query-status', {}, wait())).toMatchObject({
      status: 'prelaunch',
      running: false,
    });
    expect(await hypervisor.find('web-1')).toMatchObject({ uuid, starting: true });
    await hypervisor.settle(guest);
    expect(await hypervisor.find('web-1')).toEqual({ uuid, name: 'web-1' });
    expect(await hypervisor.find(uuid.toUpperCase())).toMatchObject({ name: 'web-1' });
    await expect(hypervisor.find('web-2')).rejects.toMatchObject({ kind: 'domain-not-found' });
  });

  it('is read once, also by the agent that has started it', async () => {
    const first = await open();
    const domain = first.read(document());
    const guest = await first.create(domain, undefined, wait());
    cleanUp.push(() => send(guest.process, 'SIGKILL'));
    expect(await first.domainOf(uuid)).toBe(domain);
    const other = await open({ side: 'dest' });
    const read = await other.domainOf(uuid);
    expect(read.document).toEqual(domain.document);
    expect(await other.domainOf(uuid)).toBe(read);
    const path = join(options.stateDir, 'domains', uuid, 'domain.xml');
    await writeFile(`${path}.new`, (await readFile(path, 'utf8')).replace('>1</vcpu>', '>2</vcpu>'));
    await rename(`${path}.new`, path);
    expect((await other.domainOf(uuid)).vcpus).toBe(2);
  });

  it('is found by a name that is known without a look at the other domains', async () => {
    const hypervisor = await open();
    const guest = await started(hypervisor);
    expect(await hypervisor.find('web-1')).toMatchObject({ uuid });
    const other = join(options.stateDir, 'domains', uuid.replace('6', '7'));
    await mkdir(other);
    await writeFile(join(other, 'domain.json'), 'damaged');
    await expect(hypervisor.list()).rejects.toMatchObject({ kind: 'state-unreadable' });
    expect(await hypervisor.find('web-1')).toMatchObject({ uuid });
    expect((await hypervisor.guest('web-1', wait())).process).toEqual(guest.process);
    await rm(other, { recursive: true });

    // Another domain has the name now.
    await hypervisor.end(guest, 'kill');
    const next = await started(hypervisor, document('', 'web-1', uuid.replace('6', '8')));
    expect(await hypervisor.find('web-1')).toMatchObject({ uuid: next.uuid });
  });

  it('is started although its guest is looked at meanwhile: both have the same connection', async () => {
    const hypervisor = await open();
    const starting = started(hypervisor);
    let isOver = false;
    const over = starting.finally(() => {
      isOver = true;
    });
    const looking = (async () => {
      for (;;) {
        const guest = await hypervisor.guest(uuid, wait()).catch(() => undefined);
        if (guest !== undefined || isOver) return guest;
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    const [guest, seen] = await Promise.all([over, looking]);
    expect(seen?.monitor).toBe(guest.monitor);
  });

  it('is found by its pid file where the agent could not note its QEMU down', async () => {
    const first = await open();
    const { process } = await started(first);
    await first[Symbol.asyncDispose]();
    await unlink(join(dir, 'state', 'domains', uuid, 'qemu.json'));
    expect((await (await open()).guest(uuid, wait())).process).toEqual(process);
  });

  it.each([
    ['a pid file without its identity', { 'qemu.pid': (pid: number) => `${pid}\n` }],
    [
      'a process of before the host’s last boot',
      {
        'qemu.json': (pid: number, startTime: string) =>
          JSON.stringify({ pid, startTime, boot: 'b5a9a5ad-0000-4000-8000-000000000000' }),
      },
    ],
  ])('is gone where %s names another process, which is let live', async (_what, files) => {
    const other = spawn('sleep', ['600']);
    cleanUp.push(async () => other.kill('SIGKILL'));
    const identity = await identify(other.pid ?? 0);
    const hypervisor = await open();
    const place = join(dir, 'state', 'domains', uuid);
    await mkdir(place, { recursive: true });
    await writeFile(join(place, 'domain.xml'), document());
    await writeFile(join(place, 'domain.json'), JSON.stringify({ uuid, name: 'web-1' }));
    for (const [name, text] of Object.entries(files))
      await writeFile(join(place, name), text(identity?.pid ?? 0, identity?.startTime ?? ''));
    expect(await hypervisor.list()).toEqual([]);
    expect(await hypervisor.leftBehind()).toMatchObject([{ uuid }]);
    await expect(hypervisor.guest(uuid, wait())).rejects.toMatchObject({ kind: 'domain-not-found' });
    expect(identity && (await isAlive(identity))).toBe(true);
  });

  it('goes on when its agent ends, and both agents of the next life find it, each with its own monitor', async () => {
    const first = await open();
    const { process } = await started(first);
    await first[Symbol.asyncDispose]();
    expect(await isAlive(process)).toBe(true);

    const source = await open();
    const dest = await open({ side: 'dest' });
    const guests = await Promise.all([source.guest('web-1', wait()), dest.guest('web-1', wait())]);
    for (const guest of guests) {
      expect(guest.process).toEqual(process);
      expect(await guest.monitor.execute('query-status', {}, wait())).toMatchObject({ status: 'prelaunch' });
    }
  });

  it('is ended with all that belongs to it', async () => {
    const hypervisor = await open();
    const guest = await started(hypervisor);
    await hypervisor.end(guest, 'quit');
    expect(await isAlive(guest.process)).toBe(false);
    expect(await readdir(join(options.stateDir, 'domains'))).toEqual([]);
    expect(await hypervisor.list()).toEqual([]);
  });

  it('keeps its directory where it was started again before an earlier QEMU of its is known to have ended', async () => {
    const hypervisor = await open();
    const first = await started(hypervisor);
    const ending = hypervisor.end(first, 'quit');
    let second: Guest | undefined;
    // Until it is gone its domain is taken.
    while (second === undefined) second = await started(hypervisor).catch(() => undefined);
    await ending;
    await hypervisor.end(first, 'kill');
    expect(await isAlive(second.process)).toBe(true);
    expect(await hypervisor.list()).toMatchObject([{ uuid }]);
    expect((await hypervisor.guest(uuid, wait())).process).toEqual(second.process);
  });

  it('is there once: neither its UUID nor its name is taken again, not by two at once either', async () => {
    const hypervisor = await open();
    await started(hypervisor);
    await expect(started(hypervisor)).rejects.toMatchObject({ kind: 'domain-exists' });
    await expect(started(hypervisor, document('', 'web-1', uuid.replace('6', '7')))).rejects.toMatchObject({
      kind: 'domain-exists',
    });

    const twin = document('', 'twin', uuid.replace('6', '8'));
    const both = await Promise.allSettled([started(hypervisor, twin), started(hypervisor, twin)]);
    expect(both.map((result) => result.status).toSorted()).toEqual(['fulfilled', 'rejected']);
  });

  it('that an agent was about to remove when it crashed is no domain, and goes with the next one', async () => {
    const hypervisor = await open();
    const half = join(dir, 'state/domains/.removed-in-half');
    await mkdir(half, { recursive: true });
    await writeFile(join(half, 'qemu.log'), 'what a crash has left');
    const guest = await started(hypervisor);
    expect(await hypervisor.places()).toEqual([uuid]);
    await hypervisor.end(guest, 'kill');
    expect(await readdir(join(dir, 'state/domains'))).toEqual([]);
  });

  it('whose QEMU died is not listed, its remains are collected, and it can be started again', async () => {
    const hypervisor = await open();
    const guest = await started(hypervisor);
    const died = once(guest.monitor.closed, 'abort');
    await send(guest.process, 'SIGKILL');
    await died;
    await waitGone(guest.process, wait());
    // The kernel closes its files a moment before.
    await waitGone(guest.process, wait());
    expect(await hypervisor.list()).toEqual([]);
    expect(await hypervisor.collect()).toEqual([uuid]);
    await started(hypervisor);
    expect(await hypervisor.list()).toHaveLength(1);
  });
});

describe('a document asks of the host', () => {
  const allowedOf = async (pid: number, thread?: string): Promise<string | undefined> => {
    for (const id of await readdir(`/proc/${pid}/task`)) {
      const status = await readFile(`/proc/${pid}/task/${id}/status`, 'latin1');
      const isIt = thread === undefined ? id === String(pid) : status.startsWith(`Name:\t${thread}`);
      if (isIt) return /^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1];
    }
    return undefined;
  };
  const withPins = (cpus: string, cputune = '') =>
    document().replace('<vcpu>1</vcpu>', `<vcpu cpuset='${cpus}'>2</vcpu><iothreads>1</iothreads>${cputune}`);

  it('that all of QEMU runs on some CPUs', async () => {
    const { process } = await started(await open(), withPins('0'));
    expect(await allowedOf(process.pid)).toBe('0');
    expect(await allowedOf(process.pid, 'CPU 1/')).toBe('0');
  });

  it('that one of its threads runs elsewhere', async () => {
    const own = await allowedOf(globalThis.process.pid);
    const cpu = /\d+$/.exec(own ?? '0')?.[0] ?? '0';
    const pins = `<cputune><vcpupin vcpu='1' cpuset='${cpu}'/><iothreadpin iothread='1' cpuset='${cpu}'/></cputune>`;
    const { process } = await started(await open(), withPins('0', pins));
    expect(await allowedOf(process.pid)).toBe('0');
    expect(await allowedOf(process.pid, 'CPU 0/')).toBe('0');
    expect(await allowedOf(process.pid, 'CPU 1/')).toBe(cpu);
    expect(await allowedOf(process.pid, 'IO iothread1')).toBe(cpu);
  });

  it('CPUs that are not there, and is refused', async () => {
    await expect(started(await open(), withPins('4000'))).rejects.toMatchObject({
      kind: 'qemu-start-failed',
      message: expect.stringContaining('affinity'),
    });
    const pins = "<cputune><vcpupin vcpu='1' cpuset='4000'/></cputune>";
    await expect(started(await open(), withPins('0', pins))).rejects.toMatchObject({
      message: expect.stringContaining('CPU 1/'),
    });
  });

  it('that a variable store is made from its template, once', async () => {
    const [code, template, store] = ['code.fd', 'vars.fd', 'web-1.fd'].map((name) => join(dir, 'disks', name));
    await writeFile(String(code), Buffer.alloc(1 << 18, 0xf4));
    await writeFile(String(template), Buffer.alloc(1 << 18, 7));
    const firmware = `<loader type='pflash' readonly='yes'>${code}</loader><nvram template='${template}'>${store}</nvram></os><features><acpi/></features>`;
    const hypervisor = await open();
    await hypervisor.end(await started(hypervisor, document().replace('</os>', firmware)), 'kill');
    expect((await readFile(String(store)))[0]).toBe(7);
    await writeFile(String(store), Buffer.alloc(1 << 18, 9));
    await started(hypervisor, document().replace('</os>', firmware));
    expect((await readFile(String(store)))[0]).toBe(9);
  });

  it('a TPM, which ends with its QEMU and keeps what it knows', async () => {
    const tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
    const hypervisor = await open();
    process.env['FERRY_REDIS_URL'] = 'redis://:confidential@redis';
    const guest = await started(hypervisor, document(tpm)).finally(() => delete process.env['FERRY_REDIS_URL']);
    const pid = Number(await readFile(join(options.stateDir, 'domains', uuid, 'swtpm.pid'), 'latin1'));
    const swtpm = await identify(pid);
    expect(swtpm).toBeDefined();
    // A guest that has broken out into it finds nothing of the agent's.
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0');
    expect(environment.filter((entry) => /^(FERRY_(?!LAB=)|OTEL|NODE)/.test(entry))).toEqual([]);
    expect(environment).toContain(`PATH=${process.env['PATH']}`);
    expect(await guest.monitor.execute('query-status', {}, wait())).toMatchObject({ running: false });
    await hypervisor.end(guest, 'quit');
    if (swtpm !== undefined) await waitGone(swtpm, wait());
    expect(await readdir(join(options.stateDir, 'tpms', uuid))).toContain('tpm2-00.permall');
  });

  it('with the capabilities that its document needs at most, and no way to gain others; its TPM with none', async () => {
    const path = join(dir, 'disks', 'share');
    await mkdir(path);
    const hypervisor = await open();
    const capabilities = async (pid: number): Promise<unknown> => {
      const status = await readFile(`/proc/${pid}/status`, 'latin1');
      const [effective, bounding] = ['CapEff', 'CapBnd'].map((name) => {
        const mask = Number(new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1]?.replace(/^/, '0x'));
        return [0, 1, 3, 4, 6, 7, 10, 12, 14, 21, 24].filter((bit) => (BigInt(mask) >> BigInt(bit)) & 1n);
      });
      return { effective, bounding, gainsNone: /^NoNewPrivs:\s*1$/m.test(status) };
    };
    // capabilities(7): CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, SETGID 6, SETUID 7, NET_BIND_SERVICE 10, NET_ADMIN 12, IPC_LOCK 14, SYS_ADMIN 21.
    const just = (...bits: number[]) => ({ effective: bits, bounding: bits, gainsNone: true });
    const plain = await started(
      hypervisor,
      document("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"),
    );
    expect(await capabilities(plain.process.pid)).toEqual(just(1, 10));
    const tpm = Number(await readFile(join(options.stateDir, 'domains', uuid, 'swtpm.pid'), 'latin1'));
    expect(await capabilities(tpm)).toEqual(just());
    const other = '7fa459ea-ee8a-4ca4-894e-db77e160355e';
    const needy = `<filesystem type='mount' accessmode='passthrough'><source dir='${path}'/><target dir='tag'/></filesystem>
      <interface type='ethernet'><mac address='52:54:00:12:34:56'/><target dev='ferry-cap0'/><model type='virtio'/></interface>`;
    const xml = document(needy, 'web-2', other).replace('<os>', '<memoryBacking><locked/></memoryBacking><os>');
    const guest = await started(hypervisor, xml);
    expect(await capabilities(guest.process.pid)).toEqual(just(0, 1, 3, 4, 6, 7, 10, 12, 14));
  });

  it('where this build has no seccomp, or capabilities cannot be taken, and says so', async () => {
    const said: string[] = [];
    const warn = (weakness: string) => void said.push(weakness);
    await open({ warn });
    expect(said).toEqual([]);
    const binary = join(dir, 'qemu');
    await writeFile(binary, '#!/bin/sh\n[ "$1" != -sandbox ] && exec qemu-system-x86_64 "$@"\n', { mode: 0o755 });
    await open({ warn, binary });
    expect(said).toEqual([expect.stringContaining('without seccomp')]);
  });

  it('a TPM, which ends too when QEMU does not start', async () => {
    const tpm = "<tpm><backend type='emulator'/></tpm>";
    const pins = document(tpm).replace(
      '<vcpu>1</vcpu>',
      "<vcpu>1</vcpu><cputune><vcpupin vcpu='0' cpuset='4000'/></cputune>",
    );
    await expect(started(await open(), pins)).rejects.toMatchObject({ kind: 'qemu-start-failed' });
    // Its socket's path stands on its command line.
    const lines = await Promise.all(
      (await readdir('/proc'))
        .filter((name) => /^\d+$/.test(name))
        .map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
    );
    expect(lines.filter((line) => line.includes(dir) && line.includes('swtpm'))).toEqual([]);
  });

  it('what QEMU is told before its CPUs run: a balloon, an unplugged cable', async () => {
    const inside = "<interface type='user'><mac address='52:54:00:00:00:01'/><link state='down'/></interface>";
    const xml = document(inside)
      .replace("<memballoon model='none'/>", "<memballoon model='virtio'/>")
      .replace('<vcpu>', "<currentMemory unit='MiB'>8</currentMemory><vcpu>");
    const { monitor } = await started(await open(), xml);
    expect(await monitor.execute('query-status', {}, wait())).toMatchObject({ running: false });
  });
});

describe('a start that fails leaves nothing behind', () => {
  afterEach(async () => {
    expect(await readdir(join(options.stateDir, 'domains')).catch(() => [])).toEqual([]);
  });

  it('when a disk is missing', async () => {
    const path = join(dir, 'disks', 'gone.img');
    await expect(started(await open(), document(disk(path)))).rejects.toMatchObject({
      kind: 'disk-missing',
      message: expect.stringContaining(path),
    });
  });

  it('when a disk is a link out of the allowed directories', async () => {
    const path = join(dir, 'disks', 'link.img');
    await symlink('/etc/passwd', path);
    await expect(started(await open(), document(disk(path)))).rejects.toMatchObject({
      kind: 'disk-missing',
      message: expect.stringContaining('/etc/passwd'),
    });
  });

  it('when the machine type is unknown', async () => {
    const xml = document().replace('pc-q35-7.2', 'pc-q35-99.0');
    await expect(started(await open(), xml)).rejects.toMatchObject({ kind: 'machine-unsupported' });
  });

  it('when the host has too little memory', async () => {
    const hypervisor = await open({ memoryReserveBytes: 2 ** 50 });
    await expect(started(hypervisor)).rejects.toMatchObject({ kind: 'not-enough-memory' });
  });

  it('when QEMU refuses, with its own words', async () => {
    const path = join(dir, 'disks', 'bad.qcow2');
    await writeFile(path, 'not a qcow2 image');
    const xml = document(disk(path)).replace("type='raw'", "type='qcow2'");
    await expect(started(await open(), xml)).rejects.toMatchObject({
      kind: 'qemu-start-failed',
      message: expect.stringMatching(/qcow2/),
    });
  });

  it('when the binary is no QEMU, which shows before the agent serves', async () => {
    await expect(open({ binary: join(dir, 'no-qemu') })).rejects.toMatchObject({ kind: 'qemu-start-failed' });
  });

  it('when QEMU dies while it starts', async () => {
    const binary = join(dir, 'dies');
    await writeFile(
      binary,
      `#!/bin/sh\ncase "$*" in *machine\\ help*|*-version*) exec qemu-system-x86_64 "$@";; esac\necho 'cannot set up guest memory' >&2; exit 1\n`,
    );
    await chmod(binary, 0o755);
    await expect(started(await open({ binary }))).rejects.toMatchObject({
      kind: 'qemu-start-failed',
      message: expect.stringContaining('cannot set up guest memory'),
    });
  });

  it('when the caller gives up', async () => {
    const hypervisor = await open();
    const gone = AbortSignal.abort(new Error('hung up'));
    await expect(hypervisor.create(hypervisor.read(document()), undefined, gone)).rejects.toThrow('hung up');
  });
});

describe('a QEMU that somebody else started', () => {
  let qemu: ChildProcess;
  const socket = (): string => join(dir, 'm.sock');

  async function foreign(hypervisor: Hypervisor): Promise<void> {
    const monitor = ['-chardev', `socket,id=m,path=${socket()},server=on,wait=off`, '-mon', 'chardev=m,mode=control'];
    const args = ['-nodefaults', '-display', 'none', ...qemuArguments(hypervisor.read(document())), ...monitor];
    qemu = spawn('qemu-system-x86_64', args, { stdio: 'ignore' });
    cleanUp.push(async () => {
      qemu.kill('SIGKILL');
      await unlink(socket());
    });
  }

  it('is adopted, with its process found by its monitor', async () => {
    const hypervisor = await open();
    await foreign(hypervisor);
    const guest = await hypervisor.adopt(socket(), hypervisor.read(document()), wait());
    expect(guest.process.pid).toBe(qemu.pid);
    expect(await hypervisor.find('web-1')).toMatchObject({ uuid, adoptedMonitor: socket() });
  });

  it('is refused where its monitor is among the agent’s own files, also by a link', async () => {
    const own = join(dir, 'own');
    await mkdir(own);
    const link = join(dir, 'link.sock');
    await symlink(join(own, 'm.sock'), link);
    await using listener = createServer().listen(join(own, 'm.sock'));
    await once(listener, 'listening');
    const signal = AbortSignal.timeout(60_000);
    await using hypervisor = await Hypervisor.open({ ...options, protectedPaths: [await realpath(own)] }, signal);
    for (const path of [join(own, 'm.sock'), link, `${dir}/x/../own/none.sock`])
      await expect(hypervisor.adopt(path, hypervisor.read(document()), wait())).rejects.toMatchObject({
        kind: 'file-refused',
        message: expect.stringContaining('own'),
      });
  });

  it('is refused when the document is of another machine, and left alone', async () => {
    const hypervisor = await open();
    await foreign(hypervisor);
    const other = document('', 'web-1', uuid.replace('6', '7')).replace("'MiB'>16", "'MiB'>32");
    await expect(hypervisor.adopt(socket(), hypervisor.read(other), wait())).rejects.toMatchObject({
      kind: 'domain-not-running',
      message: expect.stringMatching(/UUID.*bytes of memory/),
    });
    expect(qemu.exitCode).toBeNull();
    expect(await hypervisor.list()).toEqual([]);
  });
});
