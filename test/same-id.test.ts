/** An id that was used before: the same request gets the same answer, another one is refused by name. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { invoke } from '@ferry/agent';
import { DomainsService } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, patience, refusal, type TestGuest, World } from './world.ts';

const v3 = Protocol.PROTOCOL_V3;
const noOptions = { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 0 };
let world: World;
let guest: TestGuest;
beforeAll(async () => {
  world = await World.start({ hosts: ['a', 'b', 'c'] });
  guest = await world.boot(world.a);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

describe('a migration id', () => {
  const migrationId = randomUUID();

  it('of a migration to b is no id of one to c, nor of one back', async () => {
    const first = await world.migrate(guest, { migrationId });
    expect(endOf(first).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    const again = await world.migrate(guest, { migrationId, domain: guest.uuid });
    expect(endOf(again)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });

    const c = world.lab.host('c');
    const elsewhere = await refusal(world.migrate(guest, { migrationId, domain: guest.uuid }, world.a, c));
    expect(elsewhere.reason).toBe('request-differs');
    const back = endOf(await world.migrate(guest, { migrationId, domain: guest.uuid }, world.b, world.a));
    expect([back.outcome, back.failure?.reason]).toEqual([Outcome.OUTCOME_FAILED, 'phase-out-of-order']);
    await world.expectSettled(guest, world.b);
  });

  it('stays so after the agents were restarted', async () => {
    await world.a.source.restart();
    const c = world.lab.host('c');
    const elsewhere = await refusal(world.migrate(guest, { migrationId, domain: guest.uuid }, world.a, c));
    expect(elsewhere.reason).toBe('request-differs');
  });
});

describe('each phase', () => {
  it('refuses another request under the id of one that it has answered', async () => {
    const names = { migrationId: randomUUID(), domain: guest.uuid };
    const [from, to] = [callsOf(world.b), callsOf(world.a)];
    const begun = await from.begin({ ...names, options: noOptions });
    expect((await from.begin({ ...names, domain: guest.name, options: noOptions })).cookieOut).toEqual(begun.cookieOut);
    const slower = { ...noOptions, bandwidthBytesPerSecond: 1_000_000n };
    expect((await refusal(from.begin({ ...names, options: slower }))).reason).toBe('request-differs');

    const place = { migrationId: names.migrationId, protocol: v3, cookieIn: begun.cookieOut, migrationUri: '' };
    const prepared = await to.prepare({ ...place, domainXml: begun.domainXml });
    expect((await to.prepare({ ...place, domainXml: begun.domainXml })).migrationUri).toBe(prepared.migrationUri);
    const renamed = begun.domainXml.replace('</domain>', '<title>other</title></domain>');
    expect((await refusal(to.prepare({ ...place, domainXml: renamed }))).reason).toBe('request-differs');

    const way = { ...names, protocol: v3, cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri };
    const performed = await from.perform({ ...way, options: noOptions });
    const finished = await to.finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false });
    await from.confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    expect((await from.perform({ ...way, options: noOptions })).cookieOut).toEqual(performed.cookieOut);
    expect((await refusal(from.perform({ ...way, options: slower }))).reason).toBe('request-differs');
    await world.expectSettled(guest, world.a);
  });
});

describe('Start', () => {
  it('has a request id: the same request starts nothing more, another one is refused', async () => {
    const other = world.describe();
    const requestId = randomUUID();
    const start = (domainXml: string, id: string = requestId) =>
      invoke(
        world.lab.host('c').clients.domains,
        DomainsService.start,
        { domainXml, paused: false, requestId: id },
        patience(),
      );
    const started = await start(other.xml);
    expect((await start(other.xml)).domain?.qemuPid).toBe(started.domain?.qemuPid);
    const bigger = other.xml.replace(/<memory unit='MiB'>\d+/, "<memory unit='MiB'>65");
    expect(bigger).not.toBe(other.xml);
    expect((await refusal(start(bigger))).reason).toBe('request-differs');
    expect((await refusal(start(other.xml, randomUUID()))).reason).toBe('domain-exists');
    expect((await refusal(start(other.xml, 'x'))).reason).toBe('invalid-request');
    await callsOf(world.lab.host('c')).destroy(other.uuid);
  });
});
