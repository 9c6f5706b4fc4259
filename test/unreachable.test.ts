/** Destinations that cannot be reached, or could not be commanded, are found before memory flows. Real agents and QEMUs. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, refusal, World } from './world.ts';

let world: World;
/** What b and c say of themselves: a name, and not loopback as the others do; and a port that nobody listens on. */
const addresses: Readonly<Record<string, string>> = { b: 'ferry-host.invalid:7102', c: '127.0.0.1:1' };
beforeAll(async () => {
  world = await World.start({
    hosts: ['a', 'b', 'c'],
    env: ({ host, side }) => {
      const address = side === 'dest' ? addresses[host] : undefined;
      return { FERRY_HOLD_MS: '600000', ...(address === undefined ? {} : { FERRY_ADDRESS: address }) };
    },
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

it.each([
  ['that could not reach the source, which is on loopback', 'b', 'source-unreachable', 'is a loopback address'],
  ['whose agent refuses connections', 'c', 'destination-unreachable', 'cannot be connected to at 127.0.0.1:1'],
])('a destination %s', async (_what, name, reason, why) => {
  const guest = await world.boot(world.a);
  const events = await world.migrate(guest, {}, world.a, world.lab.host(name));
  expect(endOf(events)).toMatchObject({
    outcome: Outcome.OUTCOME_FAILED,
    failure: { reason, message: expect.stringContaining(why) },
  });
  expect(events.map(({ event }) => event?.$case)).not.toContain('switchover');
  expect(events.filter(({ event }) => event?.$case === 'progress')).toEqual([]);
  await world.expectSettled(guest, world.a);
});

it('a host whose source agent does not run takes no guest in', async () => {
  const guest = await world.boot(world.a);
  const names = { migrationId: randomUUID(), domain: guest.uuid, options: undefined };
  const { domainXml } = await callsOf(world.a).dumpXml(names);
  const c = world.lab.host('c');
  await c.source.kill();
  const protocol = Protocol.PROTOCOL_V2;
  const place = { protocol, domainXml, cookieIn: Buffer.alloc(0), migrationUri: '' };
  const prepare = () => callsOf(c).prepare({ migrationId: randomUUID(), ...place });
  expect(await refusal(prepare())).toMatchObject({
    reason: 'source-agent-away',
    message: expect.stringContaining('host c'),
  });
  await c.source.start();
  expect((await prepare()).migrationUri).not.toBe('');
});
