/** Who owns a guest: by real agents, whatever ends, restarts or forgets. */
import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_LEASE_MS: '2000' } });
});
afterEach(() => {
  for (const { pid } of world.lab.qemus()) process.kill(pid, 'SIGKILL');
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const ownersOf = async (guest: TestGuest, host = world.a) =>
  (await callsOf(host).where(guest.uuid)).map(({ host: owner, evidence }) => `${owner}: ${evidence}`);

/** A guest that was started anew counts from the beginning, so its old output is no measure. */
async function runsOn(guest: TestGuest, host: LabHost): Promise<void> {
  expect(await world.domainOn(host, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
  expect(await ownersOf(guest, host)).toEqual([`${host.name}: started on host ${host.name}`]);
}

const elsewhere = { reason: 'owned-elsewhere', code: status.FAILED_PRECONDITION, retryable: false };

/** The guest ends without any agent's doing. */
function endOfQemu(guest: TestGuest): void {
  for (const { domain, pid } of world.lab.qemus()) if (domain === guest.uuid) process.kill(pid, 'SIGKILL');
}

/** The whole host is gone: agents and QEMUs. */
async function hostDies(): Promise<void> {
  await Promise.all([world.a.source.kill('SIGKILL'), world.a.dest.kill('SIGKILL')]);
  for (const { host, pid } of world.lab.qemus()) if (host === 'a') process.kill(pid, 'SIGKILL');
}

async function hostComesBack(): Promise<void> {
  await Promise.all([world.a.source.start(), world.a.dest.start()]);
}

async function redisForgets(): Promise<void> {
  await world.lab.redis.kill();
  await world.lab.redis.start();
}

describe('a guest that one host owns', () => {
  it('is neither started nor adopted on another', async () => {
    const guest = await world.boot(world.a);
    const refused = await refusal(callsOf(world.b).start(guest.xml));
    expect(refused).toMatchObject(elsewhere);
    expect(refused.message).toMatch(/belongs to host a since .* \(epoch 1: started on host a\): end it there/);
    expect(await refusal(callsOf(world.b).start(guest.xml, true))).toMatchObject(elsewhere);
    const socket = { monitorPath: '/nonexistent', domainXml: guest.xml };
    expect(await refusal(callsOf(world.b).adopt(socket))).toMatchObject(elsewhere);
    expect(await ownersOf(guest, world.b)).toEqual(['a: started on host a']);
    await world.expectSettled(guest, world.a);
  });

  it('belongs to the destination after a migration, and everybody can tell, by UUID and by name', async () => {
    const guest = await world.boot(world.a, { name: 'web-1' });
    expect(endOf(await world.migrate(guest))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
    await world.expectSettled(guest, world.b);
    for (const host of [world.a, world.b]) {
      const owners = await callsOf(host).where('web-1');
      expect(owners).toMatchObject([{ uuid: guest.uuid, name: 'web-1', host: 'b', epoch: 2n }]);
      expect(owners[0]?.evidence).toMatch(/^migration \S+ committed under/);
      expect(await callsOf(host).where(guest.uuid.toUpperCase())).toEqual(owners);
    }
    const refused = await refusal(callsOf(world.a).start(guest.xml));
    expect(refused).toMatchObject(elsewhere);
    expect(refused.message).toContain('belongs to host b');
    expect(await refusal(callsOf(world.a).where('nobody'))).toMatchObject({ reason: 'domain-not-found' });
  });

  it('is free once it is destroyed', async () => {
    const guest = await world.boot(world.a);
    await callsOf(world.a).destroy(guest.name);
    expect(await ownersOf(guest, world.b)).toEqual([': its QEMU on host a has ended']);
    await callsOf(world.b).start(guest.xml);
    await runsOn(guest, world.b);
  });

  it('is free once it has ended by itself', async () => {
    const guest = await world.boot(world.a);
    endOfQemu(guest);
    await eventually('nobody owns it', async () => (await ownersOf(guest))[0]?.startsWith(': '));
    await callsOf(world.b).start(guest.xml);
    await runsOn(guest, world.b);
  });

  it('is free once it has ended after it came in', async () => {
    const guest = await world.boot(world.a);
    await world.migrate(guest);
    await world.expectSettled(guest, world.b);
    endOfQemu(guest);
    await eventually('nobody owns it', async () => (await ownersOf(guest))[0] === ': its QEMU on host b has ended');
    await callsOf(world.a).start(guest.xml);
    await runsOn(guest, world.a);
  });

  it('that ended while its host’s agent was away is free when that is back, and not before', async () => {
    const guest = await world.boot(world.a);
    await world.a.source.kill('SIGKILL');
    endOfQemu(guest);
    expect(await refusal(callsOf(world.b).start(guest.xml))).toMatchObject(elsewhere);
    await world.a.source.start();
    await eventually('nobody owns it', async () => (await ownersOf(guest))[0]?.startsWith(': '));
    await callsOf(world.b).start(guest.xml);
    await runsOn(guest, world.b);
  });

  it('stays its host’s when the agent is restarted', async () => {
    const guest = await world.boot(world.a);
    const before = await callsOf(world.b).where(guest.uuid);
    await world.a.source.restart({ signal: 'SIGKILL' });
    await world.ticksOn(guest, 100);
    expect(await callsOf(world.b).where(guest.uuid)).toEqual(before);
  });

  it('could not be started after all is nobody’s', async () => {
    const guest = await world.boot(world.a);
    const before = await callsOf(world.a).where(guest.uuid);
    await refusal(callsOf(world.a).adopt({ monitorPath: '/nonexistent', domainXml: guest.xml }));
    expect(await callsOf(world.a).where(guest.uuid)).toEqual(before);
    const other = world.describe();
    await refusal(callsOf(world.a).adopt({ monitorPath: '/nonexistent', domainXml: other.xml }));
    expect(await ownersOf(other)).toEqual([': it could not be adopted on host a']);
  });
});

describe('when Redis has forgotten', () => {
  it('the host that runs a guest claims it anew; a guest that is paused is claimed when it is resumed', async () => {
    const [running, paused] = [await world.boot(world.a), await world.boot(world.a)];
    await callsOf(world.a).suspend(paused.name);
    await redisForgets();
    await eventually('it is claimed', async () => {
      const owners = await ownersOf(running, world.b).catch(() => []);
      return owners[0] === 'a: its QEMU runs on host a';
    });
    expect(await refusal(callsOf(world.b).start(running.xml))).toMatchObject(elsewhere);
    expect(await refusal(callsOf(world.b).where(paused.uuid))).toMatchObject({ reason: 'domain-not-found' });
    await callsOf(world.a).resume(paused.name);
    expect(await ownersOf(paused, world.b)).toEqual(['a: resumed on host a']);
    expect(await callsOf(world.b).where(running.name)).toMatchObject([{ uuid: running.uuid, host: 'a' }]);
  });

  it('and the agent was restarted, too', async () => {
    const guest = await world.boot(world.a);
    await world.a.source.kill('SIGKILL');
    await redisForgets();
    await world.a.source.start();
    await eventually('it is claimed', async () => {
      const owners = await ownersOf(guest, world.b).catch(() => []);
      return owners[0] === 'a: its QEMU runs on host a';
    });
    await world.expectSettled(guest, world.a);
  });
});

describe('a host that is gone', () => {
  it('keeps its guests until a person says so', async () => {
    const guest = await world.boot(world.a, { name: 'web-2' });
    await hostDies();
    const refused = await refusal(callsOf(world.b).start(guest.xml));
    expect(refused).toMatchObject(elsewhere);
    expect(refused.message).toContain('if a is gone for good, say so with Forget');
    expect(await refusal(callsOf(world.b).forget('web-2', 'c'))).toMatchObject({ reason: 'invalid-request' });
    const expected = { host: '', name: 'web-2', evidence: 'somebody said that host a is gone' };
    for (let times = 0; times < 2; times += 1)
      expect(await callsOf(world.b).forget('web-2', 'a')).toMatchObject(expected);
    await callsOf(world.b).start(guest.xml);
    await runsOn(guest, world.b);

    // It comes back, and finds that it lost its guest.
    await hostComesBack();
    expect(await refusal(callsOf(world.a).start(guest.xml))).toMatchObject(elsewhere);
  });

  it('that is not gone claims the guest again', async () => {
    const guest = await world.boot(world.a);
    expect(await refusal(callsOf(world.a).forget(guest.uuid, 'a'))).toMatchObject({ reason: 'domain-exists' });
    await callsOf(world.b).forget(guest.uuid, 'a');
    await eventually('it is claimed', async () => (await ownersOf(guest))[0] === 'a: its QEMU runs on host a');
    await world.expectSettled(guest, world.a);
  });

  it('loses what was under way: a commit that comes late does not take the guest from the host that has it since', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.uuid };
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
    const prepared = await callsOf(world.b).prepare({
      migrationId: names.migrationId,
      protocol: Protocol.PROTOCOL_V3,
      ...place,
    });
    const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
    const performed = await callsOf(world.a).perform({ ...names, protocol: Protocol.PROTOCOL_V3, ...way });
    await hostDies();
    await callsOf(world.b).forget(guest.uuid, 'a');
    await world.lab.redis.client.hincrby(`ferry:{${guest.uuid}}:owner`, 'epoch', 1);
    await world.lab.redis.client.hset(`ferry:{${guest.uuid}}:owner`, 'host', 'c');
    const late = { ...names, protocol: Protocol.PROTOCOL_V3, cookieIn: performed.cookieOut, cancelled: false };
    expect(await refusal(callsOf(world.b).finish(late))).toMatchObject({ reason: 'not-migrating' });
    expect((await ownersOf(guest, world.b))[0]).toMatch(/^c: /);
    await eventually('the copy is ended', () => world.lab.qemus().every(({ domain }) => domain !== guest.uuid));
    await hostComesBack();
  });
});

describe('a guest that runs on two hosts', () => {
  it('is reported, and nothing is done to it', async () => {
    const guest = await world.boot(world.a);
    await world.lab.redis.client.hset(`ferry:{${guest.uuid}}:owner`, 'host', 'b');
    const said = await world.a.source.untilLogged(({ level, domain, msg }) =>
      level === 50 && domain === guest.uuid ? msg : undefined,
    );
    expect(said).toBe('the guest runs on this host and belongs to another one');
    expect(await ownersOf(guest)).toEqual(['b: started on host a']);
    await world.ticksOn(guest);
    await callsOf(world.a).suspend(guest.name);
    expect(await refusal(callsOf(world.a).resume(guest.name))).toMatchObject(elsewhere);
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
  });
});

describe('what a guest leaves that ended by itself', () => {
  const left = (guest: TestGuest): string => join(world.a.stateDir, 'domains', guest.uuid);
  const keptLog = (guest: TestGuest): string =>
    readFileSync(join(world.a.stateDir, 'logs', `${guest.uuid}.log`), 'utf8');

  it('is removed, but for the end of its log; it can be started again', async () => {
    const guest = await world.boot(world.a);
    appendFileSync(join(left(guest), 'qemu.log'), 'its last words\n');
    endOfQemu(guest);
    await eventually('its directory is removed', () => !existsSync(left(guest)));
    expect(keptLog(guest)).toMatch(/its last words\n$/);
    await callsOf(world.a).start(guest.xml);
    await runsOn(guest, world.a);
  });

  it('is removed after its host was rebooted', async () => {
    const guest = await world.boot(world.a);
    await hostDies();
    await hostComesBack();
    await eventually('its directory is removed', () => !existsSync(left(guest)));
  });
});

it('is answered truthfully beside records that are damaged, which are named', async () => {
  const guest = await world.boot(world.a);
  const { client } = world.lab.redis;
  const [text, numbers] = [randomUUID(), randomUUID()];
  await client.set(`ferry:{${text}}:owner`, 'not a record');
  await client.hset(`ferry:{${numbers}}:owner`, { host: 'a', epoch: 'NaN', evidence: 'x', sinceMs: '1e99', name: 'x' });
  await client.set('ferry:{../../etc}:owner', 'not a record');

  expect(await callsOf(world.a).where(guest.name)).toMatchObject([{ uuid: guest.uuid, host: 'a' }]);
  // A name is looked for in all records, and its own may be one that cannot be read.
  expect((await callsOf(world.a).damaged(guest.name)).toSorted()).toEqual(['../../etc', text, numbers].toSorted());
  expect(await callsOf(world.a).damaged(guest.uuid)).toEqual([]);
  expect(await callsOf(world.a).where('nobody')).toEqual([]);
  const unknown = await refusal(callsOf(world.a).forget('nobody', 'b'));
  expect(unknown).toMatchObject({ reason: 'domain-not-found' });
  for (const skipped of [text, numbers, '../../etc']) expect(unknown.message).toContain(skipped);
  const damaged = await refusal(callsOf(world.a).where(numbers));
  expect(damaged).toMatchObject({ reason: 'register-reply', retryable: false });
  expect(damaged.message).toMatch(/is damaged \(epoch "NaN", since "1e99"\): delete it in Redis/);
  expect((await callsOf(world.a).list()).map(({ uuid }) => uuid)).toContain(guest.uuid);

  // The host's own looks are not held up either.
  endOfQemu(guest);
  await eventually('the guest that has ended is given up', async () => {
    const [owner] = await callsOf(world.a).where(guest.uuid);
    return owner?.host === '';
  });
});
