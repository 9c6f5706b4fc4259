/** What is looked at before a guest moves: the same machine, a CPU that is there, nothing unsafe; and what Check and dumpxml say. */
import { execFile, execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { encodeCookie } from '@ferry/migration';
import { DomainState, Prevents } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { RelaxNGValidator, XmlDocument } from 'libxml2-wasm';
import { xmlRegisterFsInputProviders } from 'libxml2-wasm/lib/nodejs.mjs';
import { callsOf, endOf, refusal, type TestGuest, World } from './world.ts';

const run = promisify(execFile);
const none = Buffer.alloc(0);
const [v2, v3] = [Protocol.PROTOCOL_V2, Protocol.PROTOCOL_V3];
const limits = { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 0 };
const { PREVENTS_RUNNING, PREVENTS_SAFE_MIGRATION, PREVENTS_NOTHING } = Prevents;

let world: World;
/** Images, and a QEMU of a host that is older than the others. */
let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-checks-'));
  // It says that it has no AVX2; in everything else it is the real one.
  const asked = `qemu-system-x86_64 "$@" | sed 's/"avx2": true/"avx2": false/g'`;
  const script = `#!/bin/sh\ncase " $* " in *" -qmp stdio "*) ${asked} ;; *) exec qemu-system-x86_64 "$@" ;; esac\n`;
  const olderQemu = join(dir, 'older-qemu');
  await writeFile(olderQemu, script, { mode: 0o755 });
  const perHost: Readonly<Record<string, Record<string, string>>> = {
    older: { FERRY_QEMU: olderQemu },
    b: { FERRY_SHARED_PATHS: join(dir, 'shared') },
  };
  world = await World.start({
    hosts: ['a', 'b', 'older'],
    domainPaths: [dir, '/usr/share/OVMF'],
    env: ({ host }) => ({ ...perHost[host] }),
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const older = () => world.lab.host('older');
const newNames = (guest: TestGuest) => ({ migrationId: randomUUID(), domain: guest.name });
const withDevices = (xml: string, devices: string): string => xml.replace('<devices>', `<devices>${devices}`);
const withCpu = (xml: string, cpu: string): string => xml.replace('<devices>', `${cpu}<devices>`);
const newImage = (name: string): string => {
  const file = join(dir, `${name}.qcow2`);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, '16M']);
  return file;
};
const disk = (file: string, driver = "cache='none'"): string =>
  `<disk type='file' device='disk'><driver name='qemu' type='qcow2' ${driver}/><source file='${file}'/><target dev='vda' bus='virtio'/></disk>`;

const rng =
  "<rng model='virtio'><backend model='random'>/dev/urandom</backend><address type='pci' domain='0' bus='0' slot='5' function='0'/></rng>";

/** Starts a guest from a changed document, and waits until it ticks. */
async function bootAs(change: (xml: string) => string): Promise<TestGuest> {
  const described = world.describe();
  const guest = { ...described, xml: change(described.xml) };
  await callsOf(world.a).start(guest.xml);
  await world.ticksOn(guest);
  return guest;
}

const documentOf = async (guest: TestGuest): Promise<string> =>
  (await callsOf(world.a).getDomain(guest.uuid)).domainXml;

describe('a document for the destination', () => {
  it('may differ in what only the host sees: Begin hands it on, and the guest moves with it', async () => {
    const guest = await world.boot(world.a);
    const own = await documentOf(guest);
    const elsewhere = `${guest.output}.b`;
    const altered = own.replaceAll(guest.output, elsewhere).replace('<memory ', '<title>moved</title>\n  <memory ');
    const events = await world.migrate(guest, { domainXml: altered });
    expect(endOf(events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    expect((await callsOf(world.b).getDomain(guest.uuid)).domainXml).toBe(altered);
    expect(await world.hostsOf(guest)).toEqual(['b']);
    expect(existsSync(elsewhere)).toBe(true);
    await callsOf(world.b).destroy(guest.uuid);
  });

  const changes: [string, (xml: string) => string, RegExp][] = [
    ['a device more', (xml) => withDevices(xml, "<panic model='isa'/>"), /devices\/panic: it is new/],
    ['a device less', (xml) => xml.replace(/<serial [^]*<\/console>/, ''), /devices\/serial: it is missing/],
    [
      'another address',
      (xml) => xml.replace("slot='0x05'", "slot='0x06'"),
      /devices\/rng\/address\/@slot: it is 0x06 instead of 0x05/,
    ],
    [
      'another model',
      (xml) => xml.replace("<model fallback='forbid'>qemu64", "<model fallback='forbid'>kvm64"),
      /cpu\/model: it is kvm64 instead of qemu64/,
    ],
    ['more CPUs', (xml) => xml.replace(/(<vcpu[^>]*>)1</, '$12<'), /\/domain\/vcpu: it is 2 instead of 1/],
    ['less memory', (xml) => xml.replaceAll('65536', '49152'), /\/domain\/memory: it is 49152 instead of 65536/],
    [
      'another machine',
      (xml) => xml.replace('pc-q35-7.2', 'pc-q35-7.1'),
      /machine: it is pc-q35-7.1 instead of pc-q35-7.2/,
    ],
    ['another UUID', (xml) => xml.replace(/<uuid>.*?</, `<uuid>${randomUUID()}<`), /\/domain\/uuid/],
  ];

  it('that the guest could tell from its own is refused by name: by Begin, by Prepare, and peer to peer', async () => {
    const guest = await bootAs((xml) => withDevices(xml, rng));
    const own = await documentOf(guest);
    for (const [what, change, naming] of changes) {
      const domainXml = change(own);
      expect([what, domainXml]).not.toEqual([what, own]);
      const atBegin = await refusal(callsOf(world.a).begin({ ...newNames(guest), options: undefined, domainXml }));
      expect([what, atBegin]).toMatchObject([what, { reason: 'abi-mismatch', side: Side.SIDE_SOURCE }]);
      expect([what, atBegin.message]).toEqual([what, expect.stringMatching(naming)]);
      expect(atBegin.message).not.toContain('line 0');

      const peerToPeer = endOf(await world.migrate(guest, { domainXml }));
      expect(peerToPeer).toMatchObject({ outcome: Outcome.OUTCOME_FAILED, failure: { reason: 'abi-mismatch' } });
    }
    // Begin's own cookie, and a driver that changes the document.
    const names = newNames(guest);
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    for (const [what, change, naming] of changes) {
      if (what === 'another UUID') continue; // The cookie itself is of another domain then.
      const place = { protocol: v3, cookieIn: begun.cookieOut, migrationUri: '' };
      const prepare = { migrationId: names.migrationId, ...place, domainXml: change(begun.domainXml) };
      const atPrepare = await refusal(callsOf(world.b).prepare(prepare));
      expect([what, atPrepare]).toMatchObject([what, { reason: 'abi-mismatch', side: Side.SIDE_DEST }]);
      expect([what, atPrepare.message]).toEqual([what, expect.stringMatching(naming)]);
    }
    // What only the host sees is for the driver to choose.
    const domainXml = begun.domainXml.replace(guest.output, `${guest.output}.b`);
    const place = { protocol: v3, cookieIn: begun.cookieOut, migrationUri: '', domainXml };
    await callsOf(world.b).prepare({ migrationId: names.migrationId, ...place });
    const end = { ...names, protocol: v3, cookieIn: none, cancelled: true };
    await callsOf(world.a).confirm(end);
    await callsOf(world.b).finish(end);
    await world.expectSettled(guest, world.a);
  });

  it('has no place in v2', async () => {
    const guest = await world.boot(world.a);
    const domainXml = await documentOf(guest);
    expect(endOf(await world.migrate(guest, { protocol: v2, domainXml }))).toMatchObject({
      failure: { reason: 'invalid-request', message: expect.stringContaining('domain_xml') },
    });
    await world.expectSettled(guest, world.a);
  });
});

describe('an unsafe migration', () => {
  const local = (file: string): RegExp => new RegExp(`disk/source/@file: ${file} is on \\S+, .*FERRY_SHARED_PATHS`);
  const unsafe: [string, (xml: string, file: string) => string, (file: string) => RegExp[]][] = [
    ['on a local file system', (xml, file) => withDevices(xml, disk(file)), (file) => [local(file)]],
    [
      'with a cache',
      (xml, file) => withDevices(xml, disk(file, "cache='writeback'")),
      (file) => [local(file), /disk\/driver\/@cache: .*cache='writeback'.*Use cache='none' or 'directsync'/],
    ],
    [
      "with the host's own CPU",
      (xml) => withCpu(xml, "<cpu mode='host-model'/>"),
      () => [/cpu\/@mode: host-model .*Use a custom model/],
    ],
  ];
  it.each(unsafe)(
    '%s is refused with what would make it safe, and done if the caller wants it',
    async (_, change, naming) => {
      const file = newImage(randomUUID());
      const guest = await bootAs((xml) => change(xml, file));
      const calls = callsOf(world.a);
      const refusals = [
        await refusal(calls.begin({ ...newNames(guest), options: undefined })),
        await refusal(calls.begin({ ...newNames(guest), options: { ...limits, unsafe: false } })),
        await refusal(calls.dumpXml(newNames(guest))),
        await refusal(
          calls.perform({
            ...newNames(guest),
            protocol: v2,
            cookieIn: none,
            migrationUri: 'tcp:127.0.0.1:1',
            options: undefined,
          }),
        ),
        endOf(await world.migrate(guest)).failure,
        endOf(await world.migrate(guest, { protocol: v2 })).failure,
      ];
      for (const failure of refusals) {
        expect(failure).toMatchObject({ reason: 'migration-unsafe', side: Side.SIDE_SOURCE, retryable: false });
        for (const words of naming(file)) expect(failure?.message).toMatch(words);
      }
      await world.expectSettled(guest, world.a);
      const options = { ...limits, unsafe: true };
      expect((await calls.dumpXml({ ...newNames(guest), options })).domainXml).toContain(guest.uuid);
      expect(endOf(await world.migrate(guest, { options }))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
      expect(endOf(await world.migrate(guest, { options, protocol: v2 }, world.b, world.a)).outcome).toBe(
        Outcome.OUTCOME_COMPLETED,
      );
      await world.expectSettled(guest, world.a);
      await calls.destroy(guest.uuid);
    },
  );

  it('with snapshots in an image is refused', async () => {
    const file = newImage('snapshots');
    execFileSync('qemu-img', ['snapshot', '-c', 'before-upgrade', file]);
    const guest = await bootAs((xml) => withDevices(xml, disk(file)));
    const failure = await refusal(callsOf(world.a).begin({ ...newNames(guest), options: undefined }));
    expect(failure).toMatchObject({ reason: 'migration-unsafe' });
    expect(failure.message).toMatch(/snapshots: before-upgrade\. .*qemu-img snapshot -d/);
    await world.expectSettled(guest, world.a);
  });

  it('is none with a disk that the guest only reads', async () => {
    const readOnly = disk(newImage('read-only')).replace('</disk>', '<readonly/></disk>');
    const guest = await bootAs((xml) => withDevices(xml, readOnly));
    expect(endOf(await world.migrate(guest))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    await world.expectSettled(guest, world.b);
  });
});

describe('a CPU', () => {
  const avx2 = "<cpu mode='custom' match='exact'><model>qemu64</model><feature policy='require' name='avx2'/></cpu>";
  const skylake = "<cpu mode='custom' match='exact'><model>Skylake-Server</model></cpu>";

  it('with a feature that the destination lacks is refused there by name; the guest runs on', async () => {
    const guest = await bootAs((xml) => withCpu(xml, avx2));
    for (const protocol of [v3, v2]) {
      const { outcome, failure } = endOf(await world.migrate(guest, { protocol }, world.a, older()));
      expect([outcome, failure]).toMatchObject([
        Outcome.OUTCOME_FAILED,
        { reason: 'cpu-unsupported', side: Side.SIDE_DEST, message: expect.stringMatching(/missing avx2;/) },
      ]);
    }
    await world.expectSettled(guest, world.a);
    expect(endOf(await world.migrate(guest)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });

  it('with a feature that the host lacks is not started', async () => {
    const xml = withCpu(world.describe().xml, avx2);
    const failure = await refusal(callsOf(older()).start(xml));
    expect(failure).toMatchObject({ reason: 'cpu-unsupported', message: expect.stringMatching(/missing avx2;/) });
    expect(await callsOf(older()).list()).toEqual([]);
  });

  it('whose model both hosts give in the same part moves; a host that gives less of it refuses', async () => {
    const guest = await bootAs((xml) => withCpu(xml, skylake));
    expect(endOf(await world.migrate(guest))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    await world.expectSettled(guest, world.b);

    // The same document from a host whose guest has all of it.
    const domainXml = (await callsOf(world.b).getDomain(guest.uuid)).domainXml;
    const migrationId = randomUUID();
    const origin = {
      migrationId,
      domainUuid: guest.uuid,
      domainName: guest.name,
      hostName: 'c',
      hostUuid: randomUUID(),
      agentAddress: '127.0.0.1:1',
      run: randomUUID(),
    };
    const cookieIn = Buffer.from(encodeCookie('begin3', origin, { domainXml }, Date.now()));
    const place = { migrationId, domainXml, migrationUri: '' };
    for (const more of [
      { protocol: v3, cookieIn },
      { protocol: v2, cookieIn: none },
    ]) {
      const failure = await refusal(callsOf(world.a).prepare({ ...place, ...more }));
      expect(failure).toMatchObject({ reason: 'cpu-unsupported', side: Side.SIDE_DEST });
      expect(failure.message).toMatch(/Skylake-Server.*avx512f/);
      expect(failure.message.includes('protocol v3 tells')).toBe(more.protocol === v2);
    }
  });
});

describe('Check', () => {
  const check = async (host: Parameters<typeof callsOf>[0], xml: string) => (await callsOf(host).check(xml)).findings;

  it('finds nothing in the way of a document that could run and move, and starts nothing', async () => {
    const before = world.lab.qemus();
    expect(await check(world.a, world.describe().xml)).toEqual([]);
    expect(world.lab.qemus()).toEqual(before);
    expect((await callsOf(world.a).list()).every(({ state }) => state === DomainState.DOMAIN_STATE_RUNNING)).toBe(true);
  });

  it('names all that is in the way at once', async () => {
    const running = await world.boot(world.a, { name: 'taken' });
    const gone = join(dir, 'gone.qcow2');
    const image = newImage('checked');
    const card = "<interface type='network'><source network='lan'/></interface>";
    const xml = withDevices(running.xml, disk(gone) + disk(image, "cache='writeback'").replace('vda', 'vdb') + card)
      .replace('pc-q35-7.2', 'pc-q35-99.9')
      .replaceAll(/emory unit='[KM]iB'>\d+/g, "emory unit='GiB'>4000");
    const findings = await check(world.a, withCpu(xml, "<cpu mode='custom'><model>Pentium-99</model></cpu>"));
    const found = (reason: string) => findings.filter((one) => one.reason === reason);
    for (const reason of [
      'domain-exists',
      'not-enough-memory',
      'machine-unsupported',
      'cpu-unsupported',
      'disk-missing',
      'network-missing',
    ])
      expect([reason, found(reason)]).toMatchObject([
        reason,
        [{ prevents: PREVENTS_RUNNING, hint: expect.stringMatching(/./) }],
      ]);
    expect(found('disk-missing')[0]?.what).toContain(gone);
    expect(found('migration-unsafe').map(({ prevents, path }) => [prevents, path])).toEqual(
      expect.arrayContaining([
        [PREVENTS_SAFE_MIGRATION, '/domain/devices/disk[2]/driver/@cache'],
        [PREVENTS_SAFE_MIGRATION, '/domain/devices/disk[2]/source/@file'],
      ]),
    );
    await world.expectSettled(running, world.a);
  });

  it('names what is not supported with its line', async () => {
    const findings = await check(
      world.a,
      withDevices(world.describe().xml, "\n<hostdev mode='subsystem' type='usb'/>"),
    );
    expect(findings).toEqual([
      {
        prevents: PREVENTS_RUNNING,
        reason: 'xml-unsupported',
        path: '/domain/devices/hostdev',
        line: expect.any(Number),
        what: 'element <hostdev> is not supported',
        hint: 'A device of the host cannot be moved',
      },
    ]);
    expect(findings[0]?.line).toBeGreaterThan(1);
  });

  it('says what a guest would do without, which does not keep it from running', async () => {
    const xml = withCpu(world.describe().xml, "<cpu mode='custom'><model>Skylake-Server</model></cpu>");
    const [finding, ...more] = await check(world.a, xml);
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ prevents: PREVENTS_NOTHING, reason: 'cpu-unsupported' });
    expect(finding?.what).toContain('avx512f');
  });

  it('takes the word of FERRY_SHARED_PATHS for where all hosts see the same', async () => {
    execFileSync('mkdir', [join(dir, 'shared')]);
    const xml = withDevices(world.describe().xml, disk(newImage('shared/image')));
    expect(await check(world.b, xml)).toEqual([]);
    expect(await check(world.a, xml)).toMatchObject([{ reason: 'migration-unsafe' }]);
  });
});

/** Where Debian's libvirt0 has libvirt's own schema; it is not ours to keep a copy of. */
const schemas = process.env['FERRY_LIBVIRT_SCHEMAS'] ?? '/usr/share/libvirt/schemas';
const hasSchema = existsSync(join(schemas, 'domain.rng'));

(hasSchema ? describe : describe.skip)(`libvirt's own schema (${schemas}; from Debian's libvirt0)`, () => {
  const accepts = (xml: string): boolean => {
    xmlRegisterFsInputProviders();
    const file = join(schemas, 'domain.rng');
    using schema = XmlDocument.fromBuffer(readFileSync(file), { url: file });
    using validator = RelaxNGValidator.fromDoc(schema);
    using document = XmlDocument.fromString(xml);
    validator.validate(document);
    return true;
  };

  it('accepts what `ferry dumpxml`, Begin and DumpXml give', async () => {
    const guest = await bootAs((xml) =>
      withDevices(
        withCpu(xml, "<cpu mode='custom'><model>qemu64</model><feature policy='require' name='avx2'/></cpu>"),
        `${disk(newImage('dumped')).replace('</disk>', '<readonly/></disk>')}
         <interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface>
         <graphics type='vnc' port='-1' autoport='yes'/><video><model type='virtio'/></video><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>`,
      ),
    );
    const { tls, hosts } = world.lab;
    const agents = Object.values(hosts).map(({ name, sourceAddress: source, destAddress: dest }) => ({
      name,
      source,
      dest,
    }));
    const file = join(dir, 'hosts.json');
    await writeFile(file, JSON.stringify({ tls, hosts: agents }));
    const ferry = join(import.meta.dirname, '../services/cli/src/main.ts');
    const dumped = await run(process.execPath, [ferry, '--hosts-file', file, 'dumpxml', guest.name]);
    expect(dumped.stdout).toContain(`<uuid>${guest.uuid}</uuid>`);
    expect(accepts(dumped.stdout)).toBe(true);
    expect(() => accepts(dumped.stdout.replace('<devices>', '<devices><teapot/>'))).toThrow();

    const { domainXml } = await callsOf(world.a).dumpXml(newNames(guest));
    expect(accepts(domainXml)).toBe(true);
    const names = newNames(guest);
    expect(accepts((await callsOf(world.a).begin({ ...names, options: undefined })).domainXml)).toBe(true);
    await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);
  });
});
