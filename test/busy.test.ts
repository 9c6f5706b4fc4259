/** Many guests at once from a host whose processors have other work. Real agents and QEMUs. */
import { randomUUID } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { burners } from './bench/burners.ts';
import { callsOf, endOf, patience, type TestGuest, World } from './world.ts';

const guestsAtOnce = 12;
const waitMs = 120_000;

async function peerToPeer(world: World, guest: TestGuest): Promise<Outcome> {
  return endOf(await world.migrate(guest)).outcome;
}

async function byTheCaller(world: World, guest: TestGuest): Promise<Outcome> {
  const [a, b] = [callsOf(world.a), callsOf(world.b)];
  const names = { migrationId: randomUUID(), domain: guest.uuid, protocol: Protocol.PROTOCOL_V3 };
  const begun = await a.begin({ ...names, options: undefined }, patience(waitMs));
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await b.prepare({ ...names, ...place }, patience(waitMs));
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const performed = await a.perform({ ...names, ...way }, patience(waitMs));
  const finish = { ...names, cookieIn: performed.cookieOut, cancelled: false };
  const finished = await b.finish(finish, patience(waitMs));
  const confirm = { ...names, cookieIn: finished.cookieOut, cancelled: false };
  return (await a.confirm(confirm, patience(waitMs))).outcome;
}

it.each([
  ['peer to peer', peerToPeer],
  ['by the caller', byTheCaller],
])(
  `none of ${guestsAtOnce} guests that are sent at once fails, %s`,
  async (_how, move) => {
    await using world = await World.start();
    const guests: TestGuest[] = [];
    for (let i = 0; i < guestsAtOnce; i++) guests.push(await world.boot(world.a, { memoryMiB: 32, tickMs: 50 }));
    using _busy = burners(2);
    const outcomes = await Promise.all(guests.map((guest) => move(world, guest)));
    expect(outcomes.filter((outcome) => outcome !== Outcome.OUTCOME_COMPLETED)).toEqual([]);
    for (const guest of guests) await world.expectSettled(guest, world.b);
  },
  240_000,
);
