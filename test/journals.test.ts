/** Journals that cannot be read: what is not known is not supposed, and concerns one migration alone. Real agents, QEMUs, Redis and files. */
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, refusal, type TestGuest, World } from './world.ts';

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
