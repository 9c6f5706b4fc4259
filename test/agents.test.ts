/** What a host's agents answer besides the protocol's phases: its domains, and what is known of a migration while it goes on and afterwards. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { follow, invoke } from '@ferry/agent';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsService, DomainState } from '@ferry/proto/ferry/v1/domains';
import { type MigrationEvent, Outcome, Phase, Side, type WatchMigrationRequest } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { status } from '@grpc/grpc-js';
import { expectNothingOf, startMigration } from './under-way.ts';
import { callsOf, endOf, eventually, patience, refusal, World } from './world.ts';

let world: World;
beforeAll(async () => {
  // Longer than what a refused Resume waits for the job.
  world = await World.start({ env: { FERRY_IDLE_MS: '120000', FERRY_FINISH_MS: '120000' } });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

describe('a domain', () => {
  it('is started, listed, found by name and by UUID, and ended', async () => {
    const guest = world.describe({ name: 'web-1' });
    const calls = callsOf(world.a);
    const { domain } = await calls.start(guest.xml);
    expect(domain).toMatchObject({
      uuid: guest.uuid,
      name: 'web-1',
      state: DomainState.DOMAIN_STATE_RUNNING,
      memoryBytes: 64n * 1024n * 1024n,
      vcpus: 1,
      job: '',
      migrationId: '',
    });
    expect(world.lab.qemus()).toMatchObject([{ host: 'a', domain: guest.uuid, pid: domain?.qemuPid }]);
    await world.ticksOn(guest);

    expect(await calls.list()).toEqual([domain]);
    expect(await callsOf(world.b).list()).toEqual([]);
    const found = await calls.getDomain('web-1');
    expect(found.domain).toEqual(domain);
    // Completed: what was implied is written down, so that another host builds the same machine.
    expect(found.domainXml).toContain(`<uuid>${guest.uuid}</uuid>`);
    expect(found.domainXml).toContain('<address');
    expect(await calls.getDomain(guest.uuid.toUpperCase())).toEqual(found);

    expect(await refusal(calls.start(guest.xml))).toMatchObject({
      reason: 'domain-exists',
      code: status.ALREADY_EXISTS,
    });
    await world.expectSettled(guest, world.a);

    await calls.destroy('web-1');
    expect(await calls.list()).toEqual([]);
    expect(world.lab.qemus()).toEqual([]);
    expect(existsSync(join(world.a.stateDir, 'domains', guest.uuid))).toBe(false);
    expect(await refusal(calls.destroy('web-1'))).toMatchObject({ reason: 'domain-not-found', code: status.NOT_FOUND });
    expect(await refusal(calls.getDomain('web-1'))).toMatchObject({ reason: 'domain-not-found' });
  });

  it('is started without running, if that is wanted', async () => {
    const guest = await world.boot(world.a, { paused: true });
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    expect(world.report(guest).lastTick).toBeUndefined();
    const resumed = await callsOf(world.a).resume(guest.name);
    expect(resumed.domain).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
    await world.expectSettled(guest, world.a);
    await callsOf(world.a).destroy(guest.name);
  });

  it('is suspended and resumed, twice if somebody asks twice', async () => {
    const guest = await world.boot(world.a);
    const calls = callsOf(world.a);
    for (let times = 0; times < 2; times += 1) {
      const { domain } = await calls.suspend(guest.name);
      expect(domain).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    }
    const paused = world.report(guest);
    await calls.list();
    expect(world.report(guest)).toEqual(paused);
    for (let times = 0; times < 2; times += 1) {
      const { domain } = await calls.resume(guest.name);
      expect(domain).toMatchObject({ state: DomainState.DOMAIN_STATE_RUNNING });
    }
    await world.expectSettled(guest, world.a);
    await calls.destroy(guest.name);
  });

  it('is asked to shut down; one that does not listen goes on', async () => {
    const guest = await world.boot(world.a);
    const { domain } = await callsOf(world.a).shutdown(guest.name);
    expect(domain).toMatchObject({ uuid: guest.uuid, state: DomainState.DOMAIN_STATE_RUNNING });
    await world.expectSettled(guest, world.a);
    await callsOf(world.a).destroy(guest.name);
  });

  it('that is not there is nobody’s', async () => {
    const calls = callsOf(world.a);
    for (const call of [calls.suspend, calls.resume, calls.shutdown, calls.destroy, calls.getDomain]) {
      expect(await refusal(call('nobody'))).toMatchObject({ reason: 'domain-not-found', code: status.NOT_FOUND });
    }
    expect(await refusal(calls.getDomain(''))).toMatchObject({ reason: 'invalid-request' });
  });
});

describe('a domain that is being migrated away', () => {
  it('shows its job, and its twin on the destination shows the other', async () => {
    const guest = await world.boot(world.a);
    const { events, ...names } = await startMigration(world, guest);
    expect(await world.domainOn(world.a, guest)).toMatchObject({
      state: DomainState.DOMAIN_STATE_RUNNING,
      job: 'MIGRATION_OUT',
      migrationId: names.migrationId,
    });
    expect(await world.domainOn(world.b, guest)).toMatchObject({
      state: DomainState.DOMAIN_STATE_INCOMING,
      job: 'MIGRATION_IN',
      migrationId: names.migrationId,
    });
    await callsOf(world.a).abort(names);
    await events;
    await world.expectSettled(guest, world.a);
    await callsOf(world.a).destroy(guest.name);
  });

  it('is not resumed and not shut down: that waits for the migration’s end, as long as its caller does', async () => {
    const guest = await world.boot(world.a);
    const { events, ...names } = await startMigration(world, guest);
    const { domains } = world.a.clients;
    const request = { domain: guest.name };
    for (const method of [DomainsService.resume, DomainsService.shutdown]) {
      const called = invoke(domains, method, request, patience(), { deadline: Date.now() + 300 });
      await expect(called).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    }
    const waiting = invoke(domains, DomainsService.shutdown, request, patience());
    await callsOf(world.a).abort(names);
    expect((await waiting).domain).toMatchObject({ uuid: guest.uuid });
    expect(endOf(await events).outcome).toBe(Outcome.OUTCOME_CANCELLED);
    await world.expectSettled(guest, world.a);
    await callsOf(world.a).destroy(guest.name);
  });

  it('may be suspended, which lets the migration end; the guest is paused on the destination, too', async () => {
    const guest = await world.boot(world.a, { dirty: '2M', rate: '8M' });
    const { events } = await startMigration(world, guest, {
      options: { bandwidthBytesPerSecond: 2_000_000n, downtimeLimitMs: 1 },
    });
    expect((await callsOf(world.a).suspend(guest.name)).domain).toMatchObject({
      state: DomainState.DOMAIN_STATE_PAUSED,
    });
    expect(endOf(await events).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.b).destroy(guest.name);
  });

  it('may be destroyed: then nothing of it is left on either host', async () => {
    const guest = await world.boot(world.a);
    const { events } = await startMigration(world, guest);
    await callsOf(world.a).destroy(guest.name);
    expect(endOf(await events)).toMatchObject({
      outcome: Outcome.OUTCOME_GUEST_ENDED,
      failure: { reason: 'guest-ended' },
    });
    await expectNothingOf(world, guest);
  });

  it('goes on running when its twin on the destination is destroyed', async () => {
    const guest = await world.boot(world.a);
    const { events } = await startMigration(world, guest);
    await callsOf(world.b).destroy(guest.name);
    expect(endOf(await events)).toMatchObject({ outcome: Outcome.OUTCOME_FAILED });
    await world.expectSettled(guest, world.a);
    await callsOf(world.a).destroy(guest.name);
  });
});

describe('a migration', () => {
  const both = {
    source: {
      side: Side.SIDE_SOURCE,
      peer: 'b',
      phase: Phase.PHASE_PERFORM3,
      get: (names: WatchMigrationRequest) => callsOf(world.a).get(names),
      abort: (names: WatchMigrationRequest) => callsOf(world.a).abort(names),
      watch: (names: WatchMigrationRequest) =>
        follow(world.a.clients.source, SourceAgentService.watchMigration, names, patience()),
    },
    destination: {
      side: Side.SIDE_DEST,
      peer: 'a',
      phase: Phase.PHASE_PREPARE,
      get: (names: WatchMigrationRequest) => callsOf(world.b).getIncoming(names),
      abort: (names: WatchMigrationRequest) => callsOf(world.b).abortIncoming(names),
      watch: (names: WatchMigrationRequest) =>
        follow(world.b.clients.dest, DestAgentService.watchMigration, names, patience()),
    },
  };

  it.each(['source', 'destination'] as const)('is shown, followed and given up at the %s', async (where) => {
    const { side, peer, phase, get, abort, watch } = both[where];
    const guest = await world.boot(world.a);
    const { events, ...names } = await startMigration(world, guest);
    expect((await get(names)).migration).toMatchObject({
      migrationId: names.migrationId,
      domainUuid: guest.uuid,
      domainName: guest.name,
      side,
      peer,
      phase,
      active: true,
      outcome: Outcome.OUTCOME_UNSPECIFIED,
      failure: undefined,
    });
    expect((await get({ ...names, domain: guest.uuid })).migration?.domainName).toBe(guest.name);

    // Whoever comes late sees it from its beginning.
    const watched: MigrationEvent[] = [];
    const watching = (async () => {
      for await (const { event } of watch(names)) if (event !== undefined) watched.push(event);
    })();
    await eventually('its first event is seen', () => watched.length > 0);
    await abort(names);
    await watching;
    const first = where === 'source' ? Phase.PHASE_BEGIN3 : Phase.PHASE_PREPARE;
    expect(watched[0]?.event).toMatchObject({ $case: 'phaseChanged', value: { phase: first, side } });
    const ended = { outcome: Outcome.OUTCOME_CANCELLED, failure: { reason: 'migration-cancelled' } };
    expect(endOf(watched)).toMatchObject(ended);
    expect(endOf(await events).failure).toBeDefined();
    await world.expectSettled(guest, world.a);

    // And it is still known when it is over; giving it up again changes nothing.
    const over = await get(names);
    expect(over.migration).toMatchObject({ ...ended, active: false });
    expect(await abort(names)).toEqual(over);
    await callsOf(world.a).destroy(guest.name);
  });

  it('of a paused guest that comes to nothing leaves it paused, and it can be resumed', async () => {
    const guest = await world.boot(world.a);
    await callsOf(world.a).suspend(guest.name);
    const names = { migrationId: randomUUID(), domain: guest.name };
    const none = Buffer.alloc(0);
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
    const prepared = await callsOf(world.b).prepare({ migrationId: names.migrationId, protocol: 3, ...place });
    const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
    await callsOf(world.a).perform({ ...names, protocol: 3, ...way });
    expect(await refusal(callsOf(world.a).resume(guest.name))).toMatchObject({ reason: 'job-held' });
    await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    await callsOf(world.b).finish({ ...names, protocol: 3, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);
    expect(await world.domainOn(world.a, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.a).resume(guest.name);
    await world.ticksOn(guest);
    await callsOf(world.a).destroy(guest.name);
  });

  it('leaves its history, which any host tells, also when those that executed it are gone', async () => {
    const guest = await world.boot(world.a, { name: 'told' });
    const [cancelled, completed] = [randomUUID(), randomUUID()];
    await callsOf(world.a).begin({ migrationId: cancelled, domain: guest.name, options: undefined });
    await callsOf(world.a).abort({ migrationId: cancelled, domain: guest.name });
    await world.expectSettled(guest, world.a);
    await world.migrate(guest, { migrationId: completed });
    await world.expectSettled(guest, world.b);
    const agents = [world.a.source, world.a.dest, world.b.dest];
    await Promise.all(agents.map((agent) => agent.kill('SIGKILL')));
    try {
      for (const domain of [guest.uuid, 'told']) {
        const told = await callsOf(world.b).history(domain);
        const halves = told.map(({ migrationId, host, side, outcome, failure }) =>
          [migrationId, host, side, outcome, failure?.reason].join(' '),
        );
        expect(halves.toSorted()).toEqual(
          [
            [cancelled, 'a', Side.SIDE_SOURCE, Outcome.OUTCOME_CANCELLED, 'migration-cancelled'],
            [completed, 'a', Side.SIDE_SOURCE, Outcome.OUTCOME_COMPLETED, ''],
            [completed, 'b', Side.SIDE_DEST, Outcome.OUTCOME_COMPLETED, ''],
          ]
            .map((half) => half.join(' '))
            .toSorted(),
        );
        expect(told.every(({ active, startedAt = Infinity, endedAt = 0 }) => !active && endedAt >= startedAt)).toBe(
          true,
        );
      }
    } finally {
      await Promise.all(agents.map((agent) => agent.start()));
    }
    await callsOf(world.b).destroy(guest.name);
  });

  it('that nobody knows is not found, whatever is asked of it', async () => {
    const names = { migrationId: randomUUID(), domain: 'nobody' };
    for (const { get, abort, watch } of Object.values(both)) {
      for (const call of [() => get(names), () => abort(names), () => watch(names).next()]) {
        expect(await refusal(call())).toMatchObject({ reason: 'unknown-migration', code: status.NOT_FOUND });
      }
    }
  });
});
