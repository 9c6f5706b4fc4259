/** Many guests at once from a host whose processors have other work. Real agents and QEMUs. */
import { randomUUID } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { driveMigration } from '@ferry/migration';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { burners } from './bench/burners.ts';
import { callsOf, endOf, patience, type TestGuest, World } from './world.ts';

const guestsAtOnce = 12;
const waitMs = 120_000;

async function peerToPeer(world: World, guest: TestGuest): Promise<Outcome> {
  return endOf(await world.migrate(guest)).outcome;
}

async function byTheCaller(world: World, guest: TestGuest): Promise<Outcome> {
  const [source, { prepare, finish }] = [callsOf(world.a), callsOf(world.b)];
  let outcome: Outcome = Outcome.OUTCOME_UNSPECIFIED;
  const onlyInV2 = () => Promise.reject(new Error('only in v2'));
  const calls = {
    begin: source.begin,
    perform: source.perform,
    confirm: async (...args: Parameters<typeof source.confirm>) => {
      const confirmed = await source.confirm(...args);
      outcome = confirmed.outcome;
      return confirmed;
    },
    dumpXml: onlyInV2,
    outcome: onlyInV2,
  };
  const drive = {
    migrationId: randomUUID(),
    domain: guest.uuid,
    protocol: 3,
    migrationUri: '',
    options: undefined,
  } as const;
  await driveMigration(calls, { prepare, finish }, drive, patience(waitMs));
  return outcome;
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
