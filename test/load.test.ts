/** Callers without manners beside a migration: it goes on as without them, and they wait while the guest stands still. */
import { randomUUID } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { startLoad } from './bench/load.ts';
import { endOf, eventually, World } from './world.ts';

/** What the machine of these tests bears. */
const load = { watchers: 200, lists: 200, callsPerSecond: 500, bombs: true };

it('a migration beside watchers who never read, lists in a loop and calls given up at once', async () => {
  await using world = await World.start();
  const guest = await world.boot(world.a);
  const migrationId = randomUUID();
  {
    await using _load = await startLoad(world.lab, load, { migrationId, domain: guest.uuid });
    const refused = (record: Record<string, unknown>) => record['call'] === 'domain.list' || undefined;
    await world.a.source.untilLogged(refused);
    const { outcome, failure } = endOf(await world.migrate(guest, { migrationId }));
    expect({ outcome, failure }).toEqual({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    for (const agent of [world.a.source, world.b.dest]) {
      const waited = await eventually('what has waited for the guest is counted', () =>
        agent.logs().find(({ msg }) => msg === 'calls and looks have waited for a switchover'),
      );
      expect(waited['held']).toBeGreaterThan(0);
    }
  }
  await world.expectSettled(guest, world.b);
});
