/** Journals that cannot be read: what is not known is not supposed, and concerns one migration alone. Real agents, QEMUs, Redis and files. */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { startMigration } from './under-way.ts';
import { callsOf, eventually, refusal, type TestGuest, World } from './world.ts';

const v3 = Protocol.PROTOCOL_V3;

let world: World;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_LEASE_MS: '2000' } });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});
let guest: TestGuest;
beforeEach(async () => {
  guest = await world.boot(world.a);
});
afterEach(async () => {
  for (const host of [world.a, world.b])
    await callsOf(host)
      .destroy(guest.uuid)
      .catch(() => undefined);
});

/** Everything up to Finish: the guest is paused on both hosts. */
async function sent() {
  const names = { migrationId: randomUUID(), domain: guest.uuid };
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: v3, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const { cookieOut } = await callsOf(world.a).perform({ ...names, protocol: v3, ...way });
  const journal = join(world.a.stateDir, 'handover', 'source', `${names.migrationId}.json`);
  return { names, journal, finish: { ...names, protocol: v3, cookieIn: cookieOut, cancelled: false } };
}

const sourceInDoubt = (names: { migrationId: string; domain: string }) =>
  eventually('the migration is in doubt at its source', async () => {
    const { migration } = await callsOf(world.a).get(names);
    return migration?.outcome === Outcome.OUTCOME_IN_DOUBT ? migration : undefined;
  });

const handover = (names: { migrationId: string }): string => `ferry:{${guest.uuid}}:handover:${names.migrationId}`;

const phaseIn = (key: string): Promise<string | null> => world.lab.redis.client.hget(key, 'phase').catch(() => null);

describe('a journal that cannot be read', () => {
  it('decides nothing and is shown as the cause of the doubt; when it can be read the agents go on', async () => {
    const { names, journal, finish } = await sent();
    await world.a.source.kill('SIGKILL');
    await callsOf(world.b).finish(finish);
    const text = await readFile(journal);
    await rm(journal);
    await mkdir(journal);
    // Without its journal the source would believe that it has not voted.
    await world.lab.redis.client.del(handover(names));
    await world.a.source.start();
    const { doubt } = await sourceInDoubt(names);
    expect(doubt?.cause).toMatchObject({ reason: 'journal-unreadable', message: expect.stringContaining(journal) });
    expect(doubt?.settledBy).toContain('its journal');
    await world.ticksOn(guest);
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_MIGRATED });
    await rmdir(journal);
    await writeFile(journal, text);
    await world.expectSettled(guest, world.b);
  });
});

describe('a journal that is lost', () => {
  it('lets nobody take the guest back: the destination is asked, and while it is not known the guest stays paused', async () => {
    const { names, journal, finish } = await sent();
    await world.a.source.kill('SIGKILL');
    await callsOf(world.b).finish(finish);
    await rm(journal);
    const record = await world.lab.redis.client.hgetall(handover(names));
    await world.lab.redis.client.del(handover(names));
    await world.a.source.start();
    const { doubt } = await sourceInDoubt(names);
    expect(doubt?.cause).toMatchObject({ reason: 'in-doubt', message: expect.stringContaining(journal) });
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_MIGRATED });
    // The record says where the destination is.
    await world.a.source.kill('SIGKILL');
    await world.lab.redis.client.hset(handover(names), record);
    await world.a.source.start();
    await world.expectSettled(guest, world.b);
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
  });

  it('is asked of the destination, whatever the register would say', async () => {
    const { names, journal } = await sent();
    await world.a.source.kill('SIGKILL');
    await rm(journal);
    await world.a.source.start();
    await world.expectSettled(guest, world.a);
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({ outcome: Outcome.OUTCOME_FAILED });
  });

  it('of a guest that was not sent changes nothing', async () => {
    const { migrationId, events } = await startMigration(world, guest);
    const broken = expect(events).rejects.toThrow();
    await world.a.source.kill('SIGKILL');
    await broken;
    await rm(join(world.a.stateDir, 'handover', 'source', `${migrationId}.json`));
    await world.a.source.start();
    await world.expectSettled(guest, world.a);
    const { migration } = await callsOf(world.a).get({ migrationId, domain: guest.uuid });
    expect(migration).toMatchObject({ outcome: Outcome.OUTCOME_FAILED });
  });

  it.each([
    ['', false],
    [', also where its record says that it has voted', true],
  ])(
    'with the whole state directory takes nothing back, and does not call the guest lost%s',
    async (_what, recorded) => {
      const { names } = await sent();
      if (recorded) {
        await eventually('the job’s record says so', async () => {
          const { client } = world.lab.redis;
          const hashes = await Promise.all((await client.keys(`*{${guest.uuid}}*job*`)).map((key) => phaseIn(key)));
          return hashes.includes('perform3-done');
        });
      }
      await world.a.source.kill('SIGKILL');
      await world.a.source.start({ FERRY_STATE_DIR: join(world.lab.dir, 'elsewhere') });
      // Where its job's record says that it had voted, the destination takes the guest over; where that was not written yet, it is in doubt.
      const migration = await eventually('the source has handed the guest over, or is in doubt', async () => {
        const known = (await callsOf(world.a).get(names)).migration;
        return known?.active === false || known?.outcome === Outcome.OUTCOME_IN_DOUBT ? known : undefined;
      });
      if (migration.active) expect(migration.doubt?.cause?.message).toContain('FERRY_STATE_DIR');
      else expect(migration.outcome).toBe(Outcome.OUTCOME_COMPLETED);
      expect((await world.domainOn(world.b, guest))?.state).toBe(
        migration.active ? DomainState.DOMAIN_STATE_INCOMING : DomainState.DOMAIN_STATE_RUNNING,
      );
      await world.a.source.kill('SIGKILL');
      // The copy that it left is still there: it goes on, or is ended, by the decision, before the agent serves.
      await world.a.source.start({ FERRY_STATE_DIR: world.a.stateDir });
      if (!migration.active) expect(world.lab.qemus().map(({ host }) => host)).toEqual(['b']);
      await world.expectSettled(guest, migration.active ? world.a : world.b);
    },
  );
});

describe('a journal that is empty', () => {
  it('leaves no domain out of the list, and keeps a guest that was sent from being resumed by its user', async () => {
    const other = await world.boot(world.a);
    const { journal } = await sent();
    await world.a.source.kill('SIGKILL');
    await writeFile(journal, '');
    await world.lab.redis.kill();
    await world.lab.redis.start();
    await world.a.source.start();
    expect(await world.domainOn(world.a, other)).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_MIGRATED });
    expect(await refusal(callsOf(world.a).resume(guest.uuid))).toMatchObject({
      reason: 'domain-not-running',
      message: expect.stringContaining(`${journal}.damaged`),
    });
    await callsOf(world.a).destroy(other.uuid);
  });
});
