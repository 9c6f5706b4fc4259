/**
 * Bad input: for each a clear error with its reason, nothing left behind, the guest untouched. Where an accident needs a special host
 * (a full port range, a Redis that is gone), it has a lab of its own in accidents.test.ts.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { encodeCookie } from '@ferry/migration';
import { CookieEnvelope } from '@ferry/proto/ferry/v1/cookie';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = Protocol.PROTOCOL_V2;
const v3 = Protocol.PROTOCOL_V3;

let world: World;
/** A guest that every test finds running on a, and leaves running there. */
let guest: TestGuest;
beforeAll(async () => {
  world = await World.start();
  guest = await world.boot(world.a, { name: 'untouched' });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

/** After each refusal: the guest ticks on at a, there is no second copy, no job, no lease, no directory. */
async function expectUntouched(): Promise<void> {
  await world.expectSettled(guest, world.a);
}

const prepareWith = (wish: {
  domainXml: string;
  migrationId?: string;
  cookieIn?: Buffer;
  migrationUri?: string;
  protocol?: typeof v2 | typeof v3;
}) => callsOf(world.b).prepare({ migrationId: randomUUID(), protocol: v2, cookieIn: none, migrationUri: '', ...wish });

describe('XML', () => {
  const bad: [string, string, (xml: string) => string, RegExp][] = [
    ['malformed', 'xml-malformed', (xml) => xml.replace('</domain>', ''), /domain/],
    [
      'too large',
      'xml-malformed',
      (xml) => xml.replace('</domain>', `<!--${'x'.repeat(1024 * 1024)}--></domain>`),
      /large|bytes/,
    ],
    [
      'with a DTD',
      'xml-malformed',
      (xml) => `<!DOCTYPE domain SYSTEM "http://example.invalid/x.dtd">${xml}`,
      /DTD|DOCTYPE/i,
    ],
    [
      'with entities',
      'xml-malformed',
      (xml) => `<!DOCTYPE domain [<!ENTITY x "y">]>${xml.replace('untouched', '&x;')}`,
      /DTD|DOCTYPE|entit/i,
    ],
    [
      'with an unsupported element',
      'xml-unsupported',
      (xml) => xml.replace('</devices>', '<hostdev mode="subsystem" type="usb"/></devices>'),
      /hostdev/,
    ],
    ['with an unsupported attribute', 'xml-unsupported', (xml) => xml.replace('<vcpu', '<vcpu magic="yes"'), /magic/],
    ['whose name has a slash', 'xml-invalid', (xml) => xml.replace('<name>untouched', '<name>a/b'), /name/],
    ['whose name has a newline', 'xml-invalid', (xml) => xml.replace('<name>untouched', '<name>a&#10;b'), /name/],
    ['whose path has a newline', 'xml-invalid', (xml) => xml.replace('.out', '&#10;x.out'), /serial/],
    [
      'whose path has "..": it would leave the allowed directories',
      'xml-invalid',
      (xml) => xml.replace(world.lab.files, `${world.lab.files}/../../etc`),
      /\.\./,
    ],
  ];
  it.each(bad)('%s is refused as %s', async (_what, reason, change, naming) => {
    const xml = change(world.describe({ name: 'untouched' }).xml);
    const atStart = await refusal(callsOf(world.a).start(xml));
    expect(atStart).toMatchObject({ reason });
    const atPrepare = await refusal(prepareWith({ domainXml: xml }));
    expect(atPrepare).toMatchObject({ reason, side: Side.SIDE_DEST, retryable: false });
    expect(atPrepare.message).toMatch(naming);
    await expectUntouched();
  });

  it('with a machine type that this QEMU lacks is refused', async () => {
    const xml = world.describe().xml.replace('pc-q35-7.2', 'pc-q35-99.9');
    expect(await refusal(prepareWith({ domainXml: xml }))).toMatchObject({
      reason: 'machine-unsupported',
      side: Side.SIDE_DEST,
    });
    expect(await refusal(callsOf(world.a).start(xml))).toMatchObject({ reason: 'machine-unsupported' });
    await expectUntouched();
  });

  it('with a network that the host does not know is refused, and named', async () => {
    const card = "<interface type='network'><source network='lan' portgroup='guests'/></interface>";
    const xml = world.describe().xml.replace('</devices>', `${card}</devices>`);
    for (const refused of [
      await refusal(prepareWith({ domainXml: xml })),
      await refusal(callsOf(world.a).start(xml)),
    ]) {
      expect(refused).toMatchObject({ reason: 'network-missing', retryable: false });
      expect(refused.message).toMatch(
        /network "lan\/guests" .*interface.*FERRY_NETWORKS of this host: add lan\/guests=/,
      );
    }
    await expectUntouched();
  });

  it('of a guest that needs more memory than there is is refused', async () => {
    const xml = world.describe().xml.replaceAll(/emory unit='[KM]iB'>\d+/g, "emory unit='GiB'>4000");
    expect(await refusal(prepareWith({ domainXml: xml }))).toMatchObject({
      reason: 'not-enough-memory',
      side: Side.SIDE_DEST,
    });
    await expectUntouched();
  });

  it('with a disk that is not there is refused, and named', async () => {
    const disk = join(world.lab.files, 'b', 'missing.qcow2');
    const element = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${disk}'/><target dev='vda' bus='virtio'/></disk>`;
    const xml = world.describe().xml.replace('<devices>', `<devices>${element}`);
    const failure = await refusal(prepareWith({ domainXml: xml }));
    expect(failure).toMatchObject({ reason: 'disk-missing', side: Side.SIDE_DEST });
    expect(failure.message).toContain(disk);
    await expectUntouched();
  });

  it('with a disk outside of the allowed directories is refused, also through a link', async () => {
    const element = `<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/etc/passwd'/><target dev='vda' bus='virtio'/></disk>`;
    const xml = world.describe().xml.replace('<devices>', `<devices>${element}`);
    expect(await refusal(prepareWith({ domainXml: xml }))).toMatchObject({ reason: 'xml-invalid' });
    await expectUntouched();
  });

  it('whose disk QEMU cannot open is refused with QEMU’s own words', async () => {
    await mkdir(join(world.lab.files, 'disks'), { recursive: true });
    const disk = join(world.lab.files, 'disks', 'no.qcow2');
    await writeFile(disk, 'this is no qcow2 image');
    const element = `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${disk}'/><target dev='vda' bus='virtio'/></disk>`;
    const described = world.describe();
    const failure = await refusal(
      prepareWith({ domainXml: described.xml.replace('<devices>', `<devices>${element}`) }),
    );
    expect(failure).toMatchObject({ reason: 'qemu-start-failed', side: Side.SIDE_DEST });
    expect(failure.message).toMatch(/qcow2/);
    expect(existsSync(join(world.b.stateDir, 'domains', described.uuid))).toBe(false);
    await expectUntouched();
  });
});

describe('a domain', () => {
  const begin = (domain: string, migrationId: string = randomUUID()) =>
    callsOf(world.a).begin({ migrationId, domain, options: undefined });

  it('that does not exist is refused', async () => {
    expect(await refusal(begin('nobody'))).toMatchObject({ reason: 'domain-not-found', code: status.NOT_FOUND });
    expect(await refusal(begin(randomUUID()))).toMatchObject({ reason: 'domain-not-found' });
    expect(endOf(await world.migrate({ ...guest, name: randomUUID() })).failure).toMatchObject({
      reason: 'domain-not-found',
    });
  });

  it.each([
    ['a migration id that is no UUID', '../../etc', 'untouched'],
    ['no domain', randomUUID(), ''],
    ['a domain’s name of 10 000 letters', randomUUID(), 'x'.repeat(10_000)],
  ])('%s is refused', async (_what, migrationId, domain) => {
    expect(await refusal(begin(domain, migrationId))).toMatchObject({
      reason: 'invalid-request',
      code: status.INVALID_ARGUMENT,
    });
  });

  it('that exists on the destination already, by name or by UUID, is refused there', async () => {
    const twin = await world.boot(world.b, { name: 'untouched' });
    expect(endOf(await world.migrate(guest)).failure).toMatchObject({ reason: 'domain-exists', side: Side.SIDE_DEST });
    await expectUntouched();
    await callsOf(world.b).destroy(twin.uuid);
    // Of one UUID there can be two only where somebody has said that the first one's host is gone.
    const own = world.describe();
    const sameUuid = own.xml.replace(`<name>${own.name}`, '<name>another').replaceAll(own.output, `${own.output}.b`);
    await callsOf(world.b).start(sameUuid, true);
    await callsOf(world.a).forget(own.uuid, 'b');
    await callsOf(world.a).start(own.xml);
    expect(endOf(await world.migrate(own)).failure).toMatchObject({ reason: 'domain-exists', side: Side.SIDE_DEST });
    await callsOf(world.b).destroy('another');
    await world.expectSettled(own, world.a);
    await callsOf(world.a).destroy(own.uuid);
    await expectUntouched();
  });

  it('that is already migrating is refused at once, and the holder is named', async () => {
    const migrationId = randomUUID();
    await begin(guest.name, migrationId);
    const failure = await refusal(begin(guest.name));
    expect(failure).toMatchObject({ reason: 'already-migrating', code: status.FAILED_PRECONDITION });
    expect(failure.message).toContain(migrationId);
    expect(endOf(await world.migrate(guest)).failure).toMatchObject({ reason: 'already-migrating' });
    await callsOf(world.a).confirm({ migrationId, domain: guest.name, cookieIn: none, cancelled: true });
    await expectUntouched();
  });

  it('that does not run, because it is coming in or was sent away, is refused', async () => {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const begun = await begin(guest.name, names.migrationId);
    const prepared = await prepareWith({ ...begun, ...names, protocol: v3, cookieIn: begun.cookieOut });
    const onB = { migrationId: randomUUID(), domain: guest.name, options: undefined };
    expect(await refusal(callsOf(world.b).begin(onB))).toMatchObject({ reason: 'domain-not-running' });
    expect(await refusal(callsOf(world.b).dumpXml(onB))).toMatchObject({ reason: 'domain-not-running' });

    const way = { protocol: v3, cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
    await callsOf(world.a).perform({ ...names, ...way });
    const away = { migrationId: randomUUID(), domain: guest.name };
    expect(await refusal(callsOf(world.a).dumpXml(away))).toMatchObject({ reason: 'domain-not-running' });
    await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn: none, cancelled: true });
    await expectUntouched();
  });

  it('is not taken by its own host', async () => {
    expect(endOf(await world.migrate(guest, {}, world.a, world.a)).failure).toMatchObject({
      reason: 'same-host',
      side: Side.SIDE_DEST,
    });
    await expectUntouched();
  });

  it('with options that make no sense is refused', async () => {
    const options = { bandwidthBytesPerSecond: -5n, downtimeLimitMs: 0 };
    expect(
      await refusal(callsOf(world.a).begin({ migrationId: randomUUID(), domain: guest.name, options })),
    ).toMatchObject({ reason: 'invalid-request' });
    await expectUntouched();
  });
});

describe('a cookie', () => {
  const flipped = (cookie: Buffer): Buffer => {
    const copy = Buffer.from(cookie);
    const at = copy.length >> 1;
    copy[at] = (copy[at] ?? 0) ^ 4;
    return copy;
  };
  const newer = (cookie: Buffer): Buffer =>
    Buffer.from(CookieEnvelope.encode({ ...CookieEnvelope.decode(cookie), version: 7 }).finish());
  const foreign = (cookie: Buffer): Buffer => {
    void cookie;
    const origin = {
      migrationId: randomUUID(),
      domainUuid: guest.uuid,
      domainName: guest.name,
      hostName: 'c',
      hostUuid: randomUUID(),
      agentAddress: '',
      run: randomUUID(),
    };
    return Buffer.from(encodeCookie('begin3', origin, {}, Date.now()));
  };
  const demanding = (migrationId: string) => (): Buffer => {
    const origin = {
      migrationId,
      domainUuid: guest.uuid,
      domainName: guest.name,
      hostName: 'c',
      hostUuid: randomUUID(),
      agentAddress: '',
      run: randomUUID(),
    };
    return Buffer.from(encodeCookie('begin3', origin, { mandatoryFeatures: ['time-travel'] }, Date.now()));
  };
  const damages: [string, string, (cookie: Buffer, migrationId: string) => Buffer][] = [
    ['missing', 'cookie-missing', () => none],
    ['truncated', 'cookie-damaged', (cookie) => cookie.subarray(0, cookie.length - 3)],
    ['bit-flipped', 'cookie-damaged', flipped],
    ['of another migration', 'cookie-foreign', foreign],
    ['of a newer version', 'cookie-version', newer],
    ['requiring an unknown feature', 'cookie-feature', (_cookie, id) => demanding(id)()],
  ];

  it.each(damages)('that is %s is refused by Prepare', async (_what, reason, damage) => {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const cookieIn = damage(begun.cookieOut, names.migrationId);
    const failure = await refusal(prepareWith({ ...begun, migrationId: names.migrationId, protocol: v3, cookieIn }));
    expect(failure).toMatchObject({ reason, side: Side.SIDE_DEST });
    await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await expectUntouched();
  });

  it.each(damages)('that is %s is refused by Perform, which ends the job', async (_what, reason, damage) => {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const prepared = await prepareWith({
      ...begun,
      migrationId: names.migrationId,
      protocol: v3,
      cookieIn: begun.cookieOut,
    });
    const cookieIn = damage(prepared.cookieOut, names.migrationId);
    const perform = { ...names, protocol: v3, cookieIn, migrationUri: prepared.migrationUri, options: undefined };
    const failure = await refusal(callsOf(world.a).perform(perform));
    expect(failure.reason).toBe(reason);
    expect(failure.side).toBe(Side.SIDE_SOURCE);
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn: none, cancelled: true });
    await expectUntouched();
  });

  it.each(damages)(
    'that is %s is refused by Finish, and the guest goes back to the source',
    async (_what, reason, damage) => {
      const names = { migrationId: randomUUID(), domain: guest.name };
      const begun = await callsOf(world.a).begin({ ...names, options: undefined });
      const prepared = await prepareWith({
        ...begun,
        migrationId: names.migrationId,
        protocol: v3,
        cookieIn: begun.cookieOut,
      });
      const performed = await callsOf(world.a).perform({
        ...names,
        protocol: v3,
        cookieIn: prepared.cookieOut,
        migrationUri: prepared.migrationUri,
        options: undefined,
      });
      const finish = {
        ...names,
        protocol: v3,
        cookieIn: damage(performed.cookieOut, names.migrationId),
        cancelled: false,
      };
      expect((await refusal(callsOf(world.b).finish(finish))).reason).toBe(reason);
      const confirmed = await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
      expect(confirmed.outcome).toBe(Outcome.OUTCOME_FAILED);
      await expectUntouched();
    },
  );
});

describe('a destination', () => {
  it('that nobody listens at is unreachable', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    expect(endOf(await world.migrate(guest, { destination: `127.0.0.1:${port}` })).failure).toMatchObject({
      reason: 'destination-unreachable',
      retryable: true,
    });
    await expectUntouched();
  });

  it('that is no agent is unreachable', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n');
      socket.destroySoon();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    expect(endOf(await world.migrate(guest, { destination: `127.0.0.1:${port}` })).failure).toMatchObject({
      reason: 'destination-unreachable',
    });
    await new Promise((resolve) => server.close(resolve));
    await expectUntouched();
  });

  it('that is a source agent refuses', async () => {
    expect(endOf(await world.migrate(guest, { destination: world.b.sourceAddress })).failure).toMatchObject({
      reason: 'destination-refused',
    });
    await expectUntouched();
  });

  it.each(['', 'b', 'b:0', 'b:99999', 'unix:/tmp/x', 'b:1,c:2'])('at %j is no address', async (destination) => {
    expect(await refusal(world.migrate(guest, { destination }))).toMatchObject({ reason: 'invalid-request' });
    await expectUntouched();
  });

  it.each(['exec:touch /tmp/x', 'tcp:127.0.0.1:0', 'unix:/tmp/a,b', 'file:/tmp/x'])(
    'that shall listen at %j refuses',
    async (migrationUri) => {
      expect(endOf(await world.migrate(guest, { migrationUri })).failure).toMatchObject({
        reason: 'invalid-uri',
        side: Side.SIDE_DEST,
      });
      await expectUntouched();
    },
  );

  it('that cannot listen at the address says so', async () => {
    expect(endOf(await world.migrate(guest, { migrationUri: 'tcp:192.0.2.1' })).failure).toMatchObject({
      reason: 'address-unusable',
      side: Side.SIDE_DEST,
    });
    await expectUntouched();
  });

  it('whose QEMU nobody can connect to: Perform fails, both sides are clear', async () => {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const { domainXml } = await callsOf(world.a).dumpXml(names);
    await prepareWith({ domainXml, migrationId: names.migrationId });
    // In v3 the cookie names the address.
    const perform = { ...names, protocol: v2, cookieIn: none, migrationUri: 'tcp:127.0.0.1:1', options: undefined };
    const failure = await refusal(callsOf(world.a).perform(perform));
    expect(failure).toMatchObject({ reason: 'migration-failed', side: Side.SIDE_SOURCE });
    expect(failure.message).toMatch(/refused/i);
    expect(
      (await callsOf(world.b).finish({ ...names, protocol: v2, cookieIn: none, cancelled: true })).domain,
    ).toBeUndefined();
    await expectUntouched();
  });
});

describe('a deadline that is too short', () => {
  it.each(['Begin', 'Prepare', 'Perform'] as const)('in %s ends the migration, the guest runs on', async (where) => {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const short = AbortSignal.timeout(where === 'Begin' ? 0 : 10);
    const ran = (async () => {
      const begun = await callsOf(world.a).begin(
        { ...names, options: undefined },
        where === 'Begin' ? short : undefined,
      );
      const prepare = {
        ...names,
        protocol: v3,
        domainXml: begun.domainXml,
        cookieIn: begun.cookieOut,
        migrationUri: '',
      };
      const prepared = await callsOf(world.b).prepare(
        prepare,
        where === 'Prepare' ? AbortSignal.timeout(5) : undefined,
      );
      const slow = { bandwidthBytesPerSecond: 100_000n, downtimeLimitMs: 1 };
      const perform = {
        ...names,
        protocol: v3,
        cookieIn: prepared.cookieOut,
        migrationUri: prepared.migrationUri,
        options: slow,
      };
      await callsOf(world.a).perform(perform, where === 'Perform' ? AbortSignal.timeout(300) : undefined);
    })();
    await expect(ran).rejects.toMatchObject({ name: 'TimeoutError' });
    // What a caller does then, by the protocol.
    await callsOf(world.b)
      .finish({ ...names, protocol: v3, cookieIn: none, cancelled: true })
      .catch(() => undefined);
    await eventually('the source lets go', async () => {
      await callsOf(world.a)
        .confirm({ ...names, cookieIn: none, cancelled: true })
        .catch(() => undefined);
      return (await world.leases(guest)).length === 0;
    });
    await expectUntouched();
  });
});
