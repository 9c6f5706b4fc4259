/** Everything in Redis is kept by the names of hosts: two hosts of one name, or of one UUID, and a second daemon of a host do not serve. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { Lab, type LabOptions, signalProcess } from '@ferry/lab';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, eventually, refusal, World } from './world.ts';

const [uuid, other] = [randomUUID(), randomUUID()];
let dir: string;
let lab: Lab | undefined;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-names-'));
});
afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

/** Hosts a and b, the agents of a serving; gives how b's source agent fails to. */
async function refused(env: NonNullable<LabOptions['env']>): Promise<string> {
  lab = await Lab.start({ agents: 'not-started', env });
  await lab.host('a').source.start();
  await lab.host('a').dest.start();
  const { source } = lab.host('b');
  const error: unknown = await source.start().catch((reason: unknown) => reason);
  await lab.host('a').source.restart({ signal: 'SIGKILL' });
  return error instanceof Error ? error.message : String(error);
}

it('a second host of one name is refused, and told both UUIDs', async () => {
  const said = await refused(({ host }) => ({ FERRY_HOST: 'x', FERRY_HOST_UUID: host === 'a' ? uuid : other }));
  expect(said).toContain(`this host is x, UUID ${other}, and another host, UUID ${uuid}, is alive as x`);
});

it('a second host of one UUID is refused, and told both names', async () => {
  const said = await refused({ FERRY_HOST_UUID: uuid });
  expect(said).toContain(`this host is b, UUID ${uuid}, and a host of this UUID is alive as a`);
});

it('a second daemon of one state directory is refused', async () => {
  const said = await refused({ FERRY_STATE_DIR: join(dir, 'state') });
  expect(said).toMatch(/another source agent \(pid \d+\) uses the state directory/);
});

it('a host that was renamed keeps its guests, and the migrations of them that are open', async () => {
  await using world = await World.start({
    env: ({ host }) => ({ FERRY_IDLE_MS: '4000', FERRY_HOST_UUID: host === 'a' ? uuid : other }),
  });
  const { a, b } = world;
  const [kept, leaving] = [await world.boot(a), await world.boot(a)];
  const names = { migrationId: randomUUID(), domain: leaving.uuid };
  const begun = await callsOf(a).begin({ ...names, options: undefined });
  const protocol = Protocol.PROTOCOL_V3;
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await callsOf(b).prepare({ migrationId: names.migrationId, protocol, ...place });
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const { cookieOut } = await callsOf(a).perform({ ...names, protocol, ...way });
  await Promise.all([a.source.kill('SIGKILL'), a.dest.kill('SIGKILL')]);
  const redis = world.lab.redis.client;
  // As after 15 s.
  await redis.del('ferry:host:a:alive', `ferry:host-uuid:${uuid}:alive`);
  await Promise.all([a.source.start({ FERRY_HOST: 'renamed' }), a.dest.start({ FERRY_HOST: 'renamed' })]);
  await callsOf(b)
    .finish({ ...names, protocol, cookieIn: cookieOut, cancelled: false })
    .catch(() => undefined);
  const migration = await eventually('it has ended', async () => {
    const found = (await callsOf(a).get(names)).migration;
    return found?.active === false ? found : undefined;
  });
  const at = migration.outcome === Outcome.OUTCOME_COMPLETED ? 'b' : 'renamed';
  await eventually('it has one owner', async () => (await redis.hget(`ferry:{${leaving.uuid}}:owner`, 'host')) === at);
  expect(await redis.hget(`ferry:{${kept.uuid}}:owner`, 'host')).toBe('renamed');
  expect(await redis.keys('ferry:{*}:*:a')).toEqual([]);
  expect(await refusal(callsOf(b).start(kept.xml))).toMatchObject({ reason: 'owned-elsewhere' });
});

it('a host that is gone for good is forgotten on request, and another one may have its name', async () => {
  await using world = await World.start({ env: { FERRY_LEASE_MS: '1000' } });
  const { a, b } = world;
  const guest = await world.boot(a);
  const alive = await refusal(callsOf(b).forgetHost('a'));
  expect(alive).toMatchObject({ reason: 'owned-elsewhere', message: expect.stringContaining(guest.name) });
  await callsOf(a).destroy(guest.uuid);
  expect(await refusal(callsOf(b).forgetHost('a'))).toMatchObject({ reason: 'host-alive' });

  const leaving = await world.boot(a);
  await callsOf(a).begin({ migrationId: randomUUID(), domain: leaving.uuid, options: undefined });
  await Promise.all([a.source.kill('SIGKILL'), a.dest.kill('SIGKILL')]);
  const redis = world.lab.redis.client;
  // As after 15 s.
  await redis.del('ferry:host:a:alive', ...(await redis.keys('ferry:host-uuid:*:alive')));
  expect(await refusal(callsOf(b).forgetHost('a'))).toMatchObject({ reason: 'owned-elsewhere' });
  await callsOf(b).forget(leaving.uuid, 'a');
  const freed = await eventually('its lease has run out', () =>
    callsOf(b)
      .forgetHost('a')
      .catch(() => undefined),
  );
  expect(freed.hostUuid).toBe(a.hostUuid);
  expect(await redis.keys(`ferry:{*}:job:a`)).toEqual([]);
  expect(await refusal(callsOf(b).forgetHost('a'))).toMatchObject({ reason: 'host-unknown' });

  for (const qemu of world.lab.qemus()) signalProcess(qemu, 'SIGKILL');
  await a.source.start({ FERRY_HOST_UUID: other, FERRY_STATE_DIR: join(dir, 'another') });
});
