/** What a host says before it starts anything, by what its real QEMU and its real file systems say. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Admission } from './admission.ts';
import type { Networks } from '@ferry/domain-xml';
import { askBinary, type QemuBinary } from './binary.ts';
import { vendorProblem } from './host-checks.ts';
import { type SecurityDriver, securityDrivers } from './security-labels.ts';
import { mountsOf } from './storage.ts';

const wait = (): AbortSignal => AbortSignal.timeout(30_000);

let dir: string;
let binary: QemuBinary;
beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-admission-');
  binary = await askBinary('qemu-system-x86_64', wait());
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const admission = (
  more: {
    sharedPaths?: string[];
    binary?: QemuBinary;
    allowed?: ReadonlySet<string>;
    networks?: Networks;
    securityDrivers?: ReadonlySet<SecurityDriver>;
  } = {},
): Admission => {
  const policy = { allowedRoots: [dir], maxBytes: 1024 * 1024 };
  return new Admission(
    { stateDir: join(dir, 'state'), policy, memoryReserveBytes: 0, sharedPaths: [], ...more },
    more.binary ?? binary,
  );
};
const document = (inside: string, devices = ''): string =>
  `<domain type='qemu'><name>web-1</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
   <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>${inside}<devices>${devices}</devices></domain>`;
const cpu = (model: string, features = '', check = ''): string =>
  document(`<cpu mode='custom' match='exact'${check}><model>${model}</model>${features}</cpu>`);

describe('what a document opens on its host', () => {
  const problemsOf = async (devices: string, allowed: string[] = []): Promise<string[]> => {
    const host = admission({ allowed: new Set(allowed) });
    return (await host.problems(host.read(document('', devices)))).map(({ kind, message }) => `${kind}: ${message}`);
  };
  const tcp = (host: string, mode = 'connect'): string =>
    `<serial type='tcp'><source mode='${mode}' host='${host}' service='6379'/></serial>`;

  it.each([
    ["<graphics type='vnc' listen='0.0.0.0'/>", 'open-displays', /vnc display on all addresses \(0\.0\.0\.0\)/],
    ["<graphics type='vnc'><listen type='address' address='::'/></graphics>", 'open-displays', /on all addresses/],
    [
      "<graphics type='spice' autoport='yes'><listen type='address' address='0.0.0.0'/></graphics>",
      'open-displays',
      /spice display/,
    ],
    [tcp('127.0.0.1'), 'host-services', /a service of this host’s own \(127\.0\.0\.1\)/],
    [tcp('127.8.8.8'), 'host-services', /host’s own/],
    [tcp('::1'), 'host-services', /host’s own/],
    [tcp('0.0.0.0'), 'host-services', /host’s own/],
    [tcp('localhost'), 'host-services', /host’s own/],
    [
      "<serial type='udp'><source mode='connect' host='127.0.0.1' service='53'/></serial>",
      'host-services',
      /host’s own/,
    ],
  ])('%s is refused, and allowed by %s', async (devices, exposure, what) => {
    const problems = await problemsOf(devices);
    expect(problems).toEqual([expect.stringMatching(what)]);
    expect(problems[0]).toMatch(new RegExp(`^host-exposed: .*add ${exposure} to FERRY_ALLOW`));
    expect(await problemsOf(devices, [exposure])).toEqual([]);
  });

  it.each([
    "<graphics type='vnc'/>",
    "<graphics type='vnc' listen='127.0.0.1'/>",
    "<graphics type='vnc' listen='10.0.0.5'/>",
    tcp('192.0.2.1'),
    tcp('127.0.0.1', 'bind'),
    "<serial type='pty'/>",
  ])('%s is nothing special', async (devices) => {
    expect(await problemsOf(devices)).toEqual([]);
  });
});

describe('a label to run under', () => {
  const labelled = (attributes: string, label = 'libvirt-7'): string =>
    document('').replace('</domain>', `<seclabel ${attributes}><label>${label}</label></seclabel></domain>`);
  const saidOf = async (xml: string, drivers: SecurityDriver[], allowed: string[] = []) => {
    const host = admission({ allowed: new Set(allowed), securityDrivers: new Set(drivers) });
    const domain = host.read(xml);
    const [problems, notes] = await Promise.all([host.problems(domain), host.notes(domain)]);
    return {
      problems: problems.map(({ kind, message }) => `${kind}: ${message}`),
      notes: notes.map(({ what }) => what),
    };
  };

  it.each([
    ["type='dynamic' model='dac' relabel='yes'", ['selinux', 'apparmor']],
    ["type='dynamic' model='selinux' relabel='yes'", ['apparmor']],
    ["type='dynamic' model='apparmor' relabel='yes'", []],
    ["type='static' model='selinux'", []],
    ['', []],
  ] as const)('%s is kept and said once where nothing would confine QEMU by it', async (attributes, drivers) => {
    const { problems, notes } = await saidOf(labelled(attributes), [...drivers]);
    expect(problems).toEqual([]);
    expect(notes).toEqual([expect.stringMatching(/^a (dynamic|static) label.* has no effect on this host$/)]);
  });

  it.each([
    ["type='dynamic' model='selinux' relabel='yes'", 'selinux'],
    ["type='dynamic' model='apparmor' relabel='yes'", 'apparmor'],
    ["type='static' model='dac' relabel='yes'", 'apparmor'],
    ['', 'apparmor'],
  ] as const)('%s is refused on a host with that driver, unless it allows it', async (attributes, driver) => {
    const { problems } = await saidOf(labelled(attributes), [driver]);
    expect(problems).toEqual([expect.stringMatching(/^host-exposed: .* label.*add unapplied-labels to FERRY_ALLOW/)]);
    const { problems: none, notes } = await saidOf(labelled(attributes), [driver], ['unapplied-labels']);
    expect(none).toEqual([]);
    expect(notes).toEqual([expect.stringMatching(/is not applied, as this host's configuration allows$/)]);
  });

  it('of type none, or of model none, is nothing to speak of', async () => {
    const none = document('').replace(
      '</domain>',
      "<seclabel type='none' model='selinux'/><seclabel type='dynamic' model='none'/></domain>",
    );
    expect(await saidOf(none, ['selinux', 'apparmor'])).toEqual({ problems: [], notes: [] });
  });

  it('is confining where the kernel says so', async () => {
    expect(await securityDrivers(dir)).toEqual(new Set());
    await mkdir(join(dir, 'sys/module/apparmor/parameters'), { recursive: true });
    await writeFile(join(dir, 'sys/module/apparmor/parameters/enabled'), 'N\n');
    expect(await securityDrivers(dir)).toEqual(new Set());
    await writeFile(join(dir, 'sys/module/apparmor/parameters/enabled'), 'Y\n');
    await mkdir(join(dir, 'sys/fs/selinux'), { recursive: true });
    await writeFile(join(dir, 'sys/fs/selinux/enforce'), '0');
    expect(await securityDrivers(dir)).toEqual(new Set(['selinux', 'apparmor']));
  });
});

describe('what a document asks of this host', () => {
  const saidOf = async (devices: string, more: string, allowed: string[] = [], networks: [string, string][] = []) => {
    const host = admission({ allowed: new Set(allowed), networks: new Map(networks) });
    const domain = host.read(document(more, devices));
    const [problems, notes] = await Promise.all([host.problems(domain), host.notes(domain)]);
    return {
      problems: problems.map(({ kind, message }) => `${kind}: ${message}`),
      notes: notes.map(({ what }) => what),
    };
  };

  it.each([
    [
      '',
      '<cputune><shares>512</shares></cputune>',
      'unapplied-limits',
      /asks for <shares> \(\/domain\/cputune\/shares\)/,
    ],
    [
      "<interface type='ethernet'><filterref filter='a'/></interface>",
      '',
      'unapplied-filters',
      /asks for <filterref> \(\/domain\/devices\/interface\/filterref\)/,
    ],
  ])('%s%s is refused, and left out where %s is allowed', async (devices, more, allow, what) => {
    const { problems } = await saidOf(devices, more);
    expect(problems).toEqual([expect.stringMatching(what)]);
    expect(problems[0]).toMatch(new RegExp(`^host-lacks: .*add ${allow} to FERRY_ALLOW`));
    const without = await saidOf(devices, more, [allow]);
    expect(without).toEqual({ problems: [], notes: [expect.stringMatching(/is not applied, as this host's/)] });
  });

  it.each([
    "<interface type='direct'><source dev='eth0'/></interface>",
    "<interface type='bridge'><source bridge='br0'/><virtualport type='openvswitch'/></interface>",
  ])('%s is refused, whatever is allowed', async (devices) => {
    const { problems } = await saidOf(devices, '', ['unapplied-limits', 'unapplied-filters', 'unapplied-labels']);
    expect(problems).toEqual([expect.stringMatching(/^host-lacks: .*plug the card into a bridge/)]);
  });

  it('may be where a network is: on the address of its bridge', async () => {
    const display = "<graphics type='vnc'><listen type='network' network='lan'/></graphics>";
    expect((await saidOf(display, '')).problems).toEqual([expect.stringMatching(/^network-missing: network "lan"/)]);
    expect((await saidOf(display, '', [], [['lan', 'ferry-no-bridge']])).problems).toEqual([
      expect.stringMatching(/^network-missing: .*whose bridge ferry-no-bridge has no address/),
    ]);
    expect((await saidOf(display, '', [], [['lan', 'lo']])).problems).toEqual([]);
    const host = admission({ networks: new Map([['lan', 'lo']]) });
    const told = await host.asTold(host.read(document('', display)));
    expect(told.devices.graphics[0]?.listen).toEqual([{ type: 'address', address: '127.0.0.1' }]);
  });
});

describe("a processor's maker", () => {
  const wanting = (type: string, vendor: string) => {
    const xml = cpu('Haswell')
      .replace('</model>', `</model><vendor>${vendor}</vendor>`)
      .replace("type='qemu'", `type='${type}'`);
    return vendorProblem(admission().read(xml), 'processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t: 1\n');
  };

  it('is what the document says, where the guest runs on the processor itself', () => {
    expect(wanting('kvm', 'Intel')).toBeUndefined();
    expect(wanting('kvm', 'AMD')?.message).toMatch(/wants a processor of AMD .* this host's is GenuineIntel/);
    expect(wanting('qemu', 'AMD')).toBeUndefined();
  });
});

describe('a CPU', () => {
  const missingOf = (xml: string) => {
    const host = admission();
    return host.missingFeatures(host.read(xml), wait());
  };

  it("that QEMU can give lacks nothing: its own model, and what it is asked for in libvirt's spelling", async () => {
    expect(await missingOf(document(''))).toEqual({ required: [], ofModel: [] });
    const features = ['lahf_lm', 'sse4.1', 'sse4_2'].map((name) => `<feature policy='require' name='${name}'/>`);
    expect(await missingOf(cpu('qemu64', features.join('')))).toEqual({ required: [], ofModel: [] });
  });

  it('of a model that QEMU can give only in part: the features are named, but for those that are switched off', async () => {
    const { required, ofModel } = await missingOf(cpu('Skylake-Server'));
    expect(required).toEqual([]);
    expect(ofModel).toEqual(expect.arrayContaining(['avx512f', 'tsc-deadline']));
    const off = "<feature policy='disable' name='avx512f'/><feature policy='forbid' name='tsc_deadline'/>";
    const rest = await missingOf(cpu('Skylake-Server', off));
    expect(rest.ofModel).toEqual(ofModel.filter((name) => name !== 'avx512f' && name !== 'tsc-deadline'));
  });

  it('with a feature that QEMU cannot give, or does not know, or of a model that it does not know', async () => {
    const features = ['avx512f', 'no-such-feature'].map((name) => `<feature policy='require' name='${name}'/>`);
    expect((await missingOf(cpu('qemu64', features.join('')))).required).toEqual(['avx512f', 'no-such-feature']);
    expect((await missingOf(cpu('Pentium-99'))).required).toEqual(['the model Pentium-99']);
  });

  it('is refused by name: always for what is asked for, for the rest of its model if the document has it checked', async () => {
    const host = admission();
    const problem = (xml: string) => host.cpuProblem(host.read(xml), wait());
    expect(await problem(cpu('Skylake-Server'))).toBeUndefined();
    for (const check of ['partial', 'full'])
      expect(await problem(cpu('Skylake-Server', '', ` check='${check}'`))).toMatchObject({
        kind: 'cpu-unsupported',
        message: expect.stringMatching(/Skylake-Server.*avx512f/),
      });
    expect(await problem(cpu('qemu64', "<feature policy='require' name='avx512f'/>"))).toMatchObject({
      kind: 'cpu-unsupported',
      message: expect.stringMatching(/missing avx512f;/),
    });
  });

  it('of a guest that comes in may lack what it lacked before, and nothing else', async () => {
    const host = admission();
    const domain = host.read(cpu('Skylake-Server'));
    const { ofModel } = await host.missingFeatures(domain, wait());
    expect(await host.incomingCpuProblem(domain, ofModel, wait())).toBeUndefined();
    const others = ofModel.filter((name) => name !== 'avx512f');
    expect(await host.incomingCpuProblem(domain, others, wait())).toMatchObject({
      kind: 'cpu-unsupported',
      message: expect.stringMatching(/missing avx512f;/),
    });
  });

  it('cannot be told of by a QEMU that does not start: its words are passed on, and it is asked again', async () => {
    const mute = join(dir, 'qemu');
    await writeFile(mute, '#!/bin/sh\nread question; echo "no CPUs today" >&2; exit 1\n', { mode: 0o755 });
    const host = admission({ binary: { ...binary, path: mute } });
    const domain = host.read(document(''));
    await expect(host.missingFeatures(domain, wait())).rejects.toMatchObject({
      kind: 'qemu-start-failed',
      message: expect.stringMatching(/under tcg: it ended with status 1: no CPUs today/),
    });
    await writeFile(mute, '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n');
    expect(await host.missingFeatures(domain, wait())).toEqual({ required: [], ofModel: [] });
  });

  it('is asked for once, and a caller without patience does not wait for it', async () => {
    const asked = join(dir, 'asked');
    const counting = join(dir, 'qemu');
    await writeFile(counting, `#!/bin/sh\necho >>${asked}\nexec qemu-system-x86_64 "$@"\n`, { mode: 0o755 });
    const host = admission({ binary: { ...binary, path: counting } });
    const domain = host.read(document(''));
    await expect(host.missingFeatures(domain, AbortSignal.abort(new Error('no patience')))).rejects.toThrow(
      'no patience',
    );
    const away = new AbortController();
    const first = host.missingFeatures(domain, away.signal);
    away.abort(new Error('gone'));
    await expect(first).rejects.toThrow('gone');
    await Promise.all([host.missingFeatures(domain, wait()), host.missingFeatures(domain, wait())]);
    const { size } = await import('node:fs/promises').then(({ stat }) => stat(asked));
    expect(size).toBe(1);
  });
});

describe('a disk', () => {
  const disk = (path: string, more = ''): string =>
    `<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='${path}'/><target dev='vda' bus='virtio'/>${more}</disk>`;
  const hazardsOf = (host: Admission, devices: string) => host.hazards(host.read(document('', devices)));

  it('on a file system of this host alone is a hazard, with what helps', async () => {
    const image = join(dir, 'image');
    await writeFile(image, '');
    expect(await hazardsOf(admission(), disk(image))).toEqual([
      {
        path: '/domain/devices/disk/source/@file',
        line: 0,
        what: expect.stringContaining(`${image} is on `),
        hint: expect.stringContaining('FERRY_SHARED_PATHS'),
      },
    ]);
  });

  it('that the guest only reads is none, nor is one in a shared directory, links followed', async () => {
    await mkdir(join(dir, 'real'));
    await symlink(join(dir, 'real'), join(dir, 'link'));
    const image = join(dir, 'link', 'image');
    await writeFile(image, '');
    expect(await hazardsOf(admission(), disk(image, '<readonly/>'))).toEqual([]);
    expect(await hazardsOf(admission({ sharedPaths: [join(dir, 'real')] }), disk(image))).toEqual([]);
    expect(await hazardsOf(admission({ sharedPaths: [`${dir}/re`] }), disk(image))).toHaveLength(1);
  });

  it('is found below the innermost mount', () => {
    const mounts = mountsOf(
      [
        '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
        String.raw`40 22 0:40 / /srv/my\040images rw shared:7 master:2 - nfs4 server:/images rw,vers=4.2`,
        '41 22 0:41 / /srv rw - xfs /dev/sdb rw',
      ].join('\n'),
    );
    expect(mounts).toEqual([
      { at: '/', fileSystem: 'ext4' },
      { at: '/srv', fileSystem: 'xfs' },
      { at: '/srv/my images', fileSystem: 'nfs4' },
    ]);
  });
});
