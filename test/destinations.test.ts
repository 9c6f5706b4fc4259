/** One migration has one destination, and the source stops its guest only when the QEMU of that one receives it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { parseMigrationUri } from '@ferry/migration';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { Proxy } from './faults/proxy.ts';
import { callsOf, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = Protocol.PROTOCOL_V2;

let world: World;
let c: LabHost;
beforeAll(async () => {
  world = await World.start({ hosts: ['a', 'b', 'c'], env: { FERRY_IDLE_MS: '10000', FERRY_HOLD_MS: '2000' } });
  c = world.lab.host('c');
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const newNames = (guest: TestGuest) => ({ migrationId: randomUUID(), domain: guest.uuid });
type Names = ReturnType<typeof newNames>;

/** Version 2, at one of the hosts. */
async function prepareOn(host: LabHost, { migrationId, domain }: Names): Promise<string> {
  const { domainXml } = await callsOf(world.a).dumpXml({ migrationId, domain });
  const place = { domainXml, cookieIn: none, migrationUri: '' };
  return (await callsOf(host).prepare({ migrationId, protocol: v2, ...place })).migrationUri;
}

const perform = (names: Names, migrationUri: string) =>
  callsOf(world.a).perform({ ...names, protocol: v2, cookieIn: none, migrationUri, options: undefined });
const finish = (host: LabHost, names: Names) =>
  callsOf(host).finish({ ...names, protocol: v2, cookieIn: none, cancelled: false });

describe('a version 2 migration that is prepared at two hosts', () => {
  it('is refused at the second, which does not disturb it at the first', async () => {
    const guest = await world.boot(world.a);
    const names = newNames(guest);
    const uri = await prepareOn(world.b, names);
    expect(await refusal(prepareOn(c, names))).toMatchObject({
      reason: 'prepared-elsewhere',
      message: expect.stringContaining('has host b as its destination'),
    });
    await perform(names, uri);
    await refusal(finish(c, names));
    await finish(world.b, names);
    await world.expectSettled(guest, world.b);
  });

  it('after Redis has lost the record: the guest is not stopped for a QEMU of which the agent that is asked knows nothing', async () => {
    const guest = await world.boot(world.a, { dirty: '16M', rate: '20M' });
    const names = newNames(guest);
    const uri = await prepareOn(world.b, names);
    await world.lab.redis.client.del(`ferry:{${guest.uuid}}:handover:${names.migrationId}`);
    await prepareOn(c, names);
    const refused = await refusal(perform(names, uri));
    expect(refused).toMatchObject({ reason: 'not-ready', message: expect.stringContaining('receives nothing') });
    await refusal(finish(world.b, names));
    await world.expectSettled(guest, world.a);
  });
});

describe('a stream that goes through a proxy', () => {
  it('is one of the prepared QEMU, and the guest is switched over', async () => {
    const guest = await world.boot(world.a);
    const names = newNames(guest);
    const prepared = await prepareOn(world.b, names);
    const uri = parseMigrationUri(prepared);
    if (uri.kind !== 'tcp' || uri.port === undefined) throw new Error(`${prepared} is no TCP port`);
    await using proxy = await Proxy.listen('tcp', { host: uri.host, port: uri.port });
    await perform(names, `tcp:${proxy.address}`);
    await finish(world.b, names);
    await world.expectSettled(guest, world.b);
  });
});
