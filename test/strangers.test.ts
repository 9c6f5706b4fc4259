/** Attacks that took a host over, or a guest away, once: each is tried as its attacker would, and must come to nothing. */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { callsOf, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);

let world: World;
let guest: TestGuest;
beforeAll(async () => {
  world = await World.start();
  guest = await world.boot(world.a);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

describe('a caller who chooses where a destination listens', () => {
  const prepareAt = (migrationUri: string) =>
    callsOf(world.b).prepare({
      migrationId: randomUUID(),
      protocol: Protocol.PROTOCOL_V2,
      domainXml: world.describe().xml,
      cookieIn: none,
      migrationUri,
    });

  it('deletes no file by naming it as a UNIX socket', async () => {
    const sockets = join(world.lab.dir, 'sockets');
    const victim = join(world.lab.dir, 'victim');
    writeFileSync(victim, 'precious');
    for (const uri of [`unix:${victim}`, `unix:${sockets}/../victim`, `unix://${victim}`])
      expect((await refusal(prepareAt(uri))).reason).toMatch(/address-unusable|invalid-uri/);
    expect(readFileSync(victim, 'utf8')).toBe('precious');
    expect(world.lab.qemus().filter(({ host }) => host === 'b')).toEqual([]);
  });

  it('replaces nothing in the directory of sockets either', async () => {
    const sockets = join(world.lab.dir, 'sockets');
    const prepared = await prepareAt(`unix:${sockets}/first`);
    expect(prepared.migrationUri).toBe(`unix:${sockets}/first`);
    writeFileSync(join(sockets, 'file'), 'precious');
    symlinkSync('/nowhere/at/all', join(sockets, 'dangling'));
    for (const name of ['first', 'file', 'dangling', 'below/it', '', '.'])
      expect(await refusal(prepareAt(`unix:${sockets}/${name}`))).toMatchObject({
        reason: 'address-unusable',
        side: Side.SIDE_DEST,
      });
    expect(existsSync(join(sockets, 'first'))).toBe(true);
    expect(readFileSync(join(sockets, 'file'), 'utf8')).toBe('precious');
  });

  it.each(['tcp:0.0.0.0:4445', 'tcp:[::]', 'tcp:127.0.0.2', 'tcp:localhost', 'tcp:127.0.0.1:4445'])(
    'opens nothing but the configured address and ports: %s',
    async (uri) => {
      const refused = await refusal(prepareAt(uri));
      expect(refused).toMatchObject({ reason: 'address-unusable', side: Side.SIDE_DEST, retryable: false });
      expect(refused.message).toMatch(/FERRY_MIGRATION_(ADDRESS|PORTS)/);
    },
  );

  it('sends no guest’s memory to a socket that is none of a migration, nor past what the destination named', async () => {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const v2 = { ...names, protocol: Protocol.PROTOCOL_V2, cookieIn: none, options: undefined };
    const monitor = join(world.b.stateDir, 'domains', randomUUID(), 'dest.sock');
    expect(await refusal(callsOf(world.a).perform({ ...v2, migrationUri: `unix:${monitor}` }))).toMatchObject({
      reason: 'invalid-uri',
      side: Side.SIDE_SOURCE,
    });
    const again = { ...names, migrationId: randomUUID() };
    const begun = await callsOf(world.a).begin({ ...again, options: undefined });
    const prepared = await callsOf(world.b).prepare({
      migrationId: again.migrationId,
      protocol: Protocol.PROTOCOL_V3,
      domainXml: begun.domainXml,
      cookieIn: begun.cookieOut,
      migrationUri: '',
    });
    const v3 = { ...again, protocol: Protocol.PROTOCOL_V3, cookieIn: prepared.cookieOut, options: undefined };
    const elsewhere = await refusal(callsOf(world.a).perform({ ...v3, migrationUri: 'tcp:127.0.0.1:4445' }));
    expect(elsewhere).toMatchObject({ reason: 'invalid-uri', side: Side.SIDE_SOURCE });
    expect(elsewhere.message).toContain(prepared.migrationUri);
    await callsOf(world.b).finish({
      ...again,
      protocol: Protocol.PROTOCOL_V3,
      cookieIn: none,
      cancelled: true,
    });
    await world.expectSettled(guest, world.a);
  });
});

describe('a document that names what is the agents’ own as a file', () => {
  const withSerial = (path: string) => {
    const { xml } = world.describe();
    const serial = `<serial type='unix'><source mode='connect' path='${path}'/><target port='1'/></serial>`;
    return xml.replace('</devices>', `${serial}</devices>`);
  };

  it('gets no monitor of another guest for its serial port', async () => {
    const monitor = join(world.a.stateDir, 'domains', guest.uuid, 'dest.sock');
    const link = join(world.lab.files, 'link');
    symlinkSync(join(world.a.stateDir, 'domains'), link);
    for (const path of [monitor, join(link, guest.uuid, 'dest.sock')]) {
      expect((await refusal(callsOf(world.a).start(withSerial(path)))).reason).toMatch(/xml-invalid|disk-missing/);
      const { findings } = await callsOf(world.a).check(withSerial(path));
      expect(findings.map(({ reason }) => reason).join()).toMatch(/xml-invalid|disk-missing/);
    }
    expect(world.lab.qemus().filter(({ host }) => host === 'a')).toHaveLength(1);
  });

  it('could not be told apart where domains may use the agents’ directories: such an agent does not start', async () => {
    for (const paths of ['/', world.lab.dir, world.b.stateDir, join(world.b.stateDir, 'domains')]) {
      await expect(world.b.dest.restart({ env: { FERRY_DOMAIN_PATHS: paths } })).rejects.toThrow(/ended/);
      expect(world.b.dest.log.lines().join()).toContain('which is the agent');
    }
    const paths = [world.lab.files, join(import.meta.dirname, '..', 'guest', 'build')].join(':');
    await world.b.dest.restart({ env: { FERRY_DOMAIN_PATHS: paths } });
  });
});

it('a guest that has broken out of its QEMU finds nothing of the agent’s in its environment', () => {
  const qemu = world.lab.qemus().find(({ domain }) => domain === guest.uuid);
  const environment = readFileSync(`/proc/${qemu?.pid}/environ`, 'utf8').split('\0');
  const names = environment.flatMap((entry) => (entry === '' ? [] : [entry.slice(0, entry.indexOf('='))]));
  expect(names).toContain('PATH');
  expect(names.filter((name) => /^(FERRY_(?!LAB$)|OTEL|NODE)/.test(name))).toEqual([]);
});
