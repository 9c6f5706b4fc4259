/** Hosts that have IPv6 addresses only: agents call each other, and memory flows, at ::1. */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { endOf, World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ address: '::1' });
});
afterAll(() => world[Symbol.asyncDispose]());

it('moves a guest there and back', async () => {
  const guest = await world.boot(world.a);
  expect(world.b.destAddress).toMatch(/^\[::1\]:\d+$/);

  expect(endOf(await world.migrate(guest))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
  await world.expectSettled(guest, world.b);

  const port = world.a.migrationPorts[0];
  const back = await world.migrate(guest, { migrationUri: `tcp:[::1]:${port}` }, world.b, world.a);
  expect(endOf(back)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
  await world.expectSettled(guest, world.a);
});
