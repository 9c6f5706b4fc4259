/** Many guests at once from a host whose processors have other work. Real agents and QEMUs. */
import { expect, it } from '@jest/globals';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { burners } from './bench/burners.ts';
import { endOf, World } from './world.ts';

const guestsAtOnce = 12;

it(`none of ${guestsAtOnce} guests that are sent at once fails`, async () => {
  await using world = await World.start();
  const guests = [];
  for (let i = 0; i < guestsAtOnce; i++) guests.push(await world.boot(world.a, { memoryMiB: 32, tickMs: 50 }));
  using _busy = burners(2);
  const ends = await Promise.all(guests.map(async (guest) => endOf(await world.migrate(guest))));
  expect(ends.filter(({ outcome }) => outcome !== Outcome.OUTCOME_COMPLETED)).toEqual([]);
  for (const guest of guests) await world.expectSettled(guest, world.b);
}, 240_000);
