/** A guest that stops running while it is sent arrives as it is: nobody starts it, and nothing waits for it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { SecondMonitors } from './second-monitor.ts';
import { expectNothingOf, startMigration } from './under-way.ts';
import { callsOf, endOf, refusal, type TestGuest, World } from './world.ts';

const versions: [string, Protocol][] = [
  ['v3', Protocol.PROTOCOL_V3],
  ['v2', Protocol.PROTOCOL_V2],
];

const none = Buffer.alloc(0);

let world: World;
let monitors: SecondMonitors;
beforeAll(async () => {
  monitors = new SecondMonitors();
  world = await World.start({ env: { FERRY_QEMU: monitors.qemu } });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  monitors[Symbol.dispose]();
});

/** A guest whose QEMU stays when it shuts down, or resets itself. */
async function bootPreserved(): Promise<TestGuest> {
  const guest = world.describe();
  const actions = '<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot>';
  await callsOf(world.a).start(guest.xml.replace('<devices>', `${actions}<devices>`));
  await world.ticksOn(guest);
  return guest;
}

const atSource = (guest: TestGuest, command: string, args: object = {}) =>
  monitors.execute(world, world.a, guest, command, args);
/** Memory flows as fast as it can: the migration comes to its end. */
const hurry = (guest: TestGuest) =>
  atSource(guest, 'migrate-set-parameters', { 'max-bandwidth': 1_000_000_000, 'downtime-limit': 300 });

describe.each(versions)('%s, peer to peer', (_name, protocol) => {
  it('a guest that shut down while memory flowed arrives shut down', async () => {
    const guest = await bootPreserved();
    const { events } = await startMigration(world, guest, { protocol });
    await atSource(guest, 'system_reset');
    await hurry(guest);
    const end = endOf(await events);
    expect(end.failure).toBeUndefined();
    expect(end).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, statistics: { blackoutUs: 0n, resumedAtUs: 0n } });
    await world.expectSettled(guest, world.b);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_SHUTDOWN, job: '' });
    expect(await refusal(callsOf(world.b).resume(guest.name))).toMatchObject({ reason: 'domain-not-running' });
    await callsOf(world.b).destroy(guest.name);
  });

  it('a guest that another program paused while memory flowed arrives paused, and can be resumed', async () => {
    const guest = await world.boot(world.a);
    const { events } = await startMigration(world, guest, { protocol });
    await atSource(guest, 'stop');
    await hurry(guest);
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, statistics: { blackoutUs: 0n } });
    await world.expectSettled(guest, world.b);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.b).resume(guest.name);
    await world.expectSettled(guest, world.b);
  });

  it('a guest that was paused when it began and resumed while memory flowed runs on', async () => {
    const guest = await world.boot(world.a);
    await callsOf(world.a).suspend(guest.name);
    const { events } = await startMigration(world, guest, { protocol });
    await atSource(guest, 'cont');
    await hurry(guest);
    const end = endOf(await events);
    expect(end.outcome).toBe(Outcome.OUTCOME_COMPLETED);
    expect(end.statistics?.blackoutUs).toBeGreaterThan(0n);
    await world.expectSettled(guest, world.b);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
  });
});

describe.each(versions)('%s, its user', (_name, protocol) => {
  it('pauses it while memory flows: it arrives paused, and the pause is no blackout', async () => {
    const guest = await world.boot(world.a);
    const { events } = await startMigration(world, guest, { protocol });
    const { domain } = await callsOf(world.a).suspend(guest.name);
    expect(domain).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await hurry(guest);
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, statistics: { blackoutUs: 0n } });
    await world.expectSettled(guest, world.b);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.b).resume(guest.name);
    await world.expectSettled(guest, world.b);
  });

  it('pauses it while memory flows, and it stays paused when the migration is given up', async () => {
    const guest = await world.boot(world.a);
    const { events, ...names } = await startMigration(world, guest, { protocol });
    await callsOf(world.a).suspend(guest.name);
    await callsOf(world.a).abort(names);
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_CANCELLED });
    await world.expectSettled(guest, world.a);
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
  });

  it('is refused once it is stopped for the switchover, and a paused one that was taken back can be sent again', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name };
    const sent = await sendPart(guest, names, protocol, () => callsOf(world.a).suspend(guest.name));
    for (const call of [callsOf(world.a).suspend, callsOf(world.a).destroy]) {
      expect(await refusal(call(guest.name))).toMatchObject({ reason: 'switching-over', retryable: true });
    }
    expect(sent.statistics?.stoppedAtUs).toBe(0n);
    await callsOf(world.b).finish({ ...names, protocol, cookieIn: none, cancelled: true });
    if (protocol === Protocol.PROTOCOL_V3)
      await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });

    expect(endOf(await world.migrate(guest, { protocol }))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED });
    await world.expectSettled(guest, world.b);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.b).resume(guest.name);
    await world.expectSettled(guest, world.b);
  });
});

/** Everything up to Perform, by the caller, with something between Prepare and Perform. */
async function sendPart(
  guest: TestGuest,
  names: { migrationId: string; domain: string },
  protocol: Protocol,
  before: () => Promise<unknown>,
) {
  const [a, b] = [callsOf(world.a), callsOf(world.b)];
  const v3 = protocol === Protocol.PROTOCOL_V3;
  const begun = v3
    ? await a.begin({ ...names, options: undefined })
    : { domainXml: (await a.dumpXml(names)).domainXml, cookieOut: none };
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
  const prepared = await b.prepare({ migrationId: names.migrationId, protocol, ...place });
  await before();
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  return a.perform({ ...names, protocol, ...way });
}

describe.each(versions)('%s, its end', (_name, protocol) => {
  it('is told as what it is: a guest that shut down while memory flowed is not lost', async () => {
    const guest = world.describe();
    await callsOf(world.a).start(guest.xml.replace('<devices>', '<on_reboot>destroy</on_reboot><devices>'));
    await world.ticksOn(guest);
    const { events } = await startMigration(world, guest, { protocol });
    await atSource(guest, 'system_reset').catch(() => undefined);
    const failure = { reason: 'guest-ended', side: Side.SIDE_SOURCE, retryable: false };
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_GUEST_ENDED, failure });
    await expectNothingOf(world, guest);
  });

  it('is told as what it is: a guest that its user destroyed while memory flowed is not lost', async () => {
    const guest = await world.boot(world.a);
    const { events } = await startMigration(world, guest, { protocol });
    await callsOf(world.a).destroy(guest.name);
    expect(endOf(await events)).toMatchObject({
      outcome: Outcome.OUTCOME_GUEST_ENDED,
      failure: { reason: 'guest-ended' },
    });
    await expectNothingOf(world, guest);
  });

  it('of a cancelled migration is that on both sides', async () => {
    const guest = await world.boot(world.a);
    const { events, ...names } = await startMigration(world, guest, { protocol });
    await callsOf(world.a).abort(names);
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_CANCELLED });
    await world.expectSettled(guest, world.a);
    const { migration } = await callsOf(world.b).getIncoming({ ...names, domain: guest.uuid });
    const cancelled = { outcome: Outcome.OUTCOME_CANCELLED, failure: { reason: 'migration-cancelled' } };
    expect(migration).toMatchObject(cancelled);
  });
});

describe('driven by the caller', () => {
  it('a guest that shut down while memory flowed and is taken back ends the migration', async () => {
    const guest = await bootPreserved();
    const names = { migrationId: randomUUID(), domain: guest.name };
    const [a, b] = [callsOf(world.a), callsOf(world.b)];
    const protocol = Protocol.PROTOCOL_V3;
    await sendPart(guest, names, protocol, () => atSource(guest, 'system_reset'));
    const confirmed = await a.confirm({ ...names, cookieIn: none, cancelled: true });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_FAILED);
    await b.finish({ ...names, protocol, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);
    const { ticks } = world.report(guest);
    await a.destroy(guest.name);
    expect(world.report(guest).ticks).toBe(ticks);
  });
});
