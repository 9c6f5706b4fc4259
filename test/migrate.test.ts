/** Both protocols, in both modes, with real agents, real QEMUs and a real Redis. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Phase, Protocol, Side } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = Protocol.PROTOCOL_V2;
const v3 = Protocol.PROTOCOL_V3;

let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

describe('driven by the caller', () => {
  it('v3: runs on the destination alone after Confirm', async () => {
    const guest = await world.boot(world.a);
    const [a, b] = [callsOf(world.a), callsOf(world.b)];
    const names = { migrationId: randomUUID(), domain: guest.name };

    const begun = await a.begin({ ...names, options: undefined });
    const prepared = await b.prepare({
      migrationId: names.migrationId,
      protocol: v3,
      domainXml: begun.domainXml,
      cookieIn: begun.cookieOut,
      migrationUri: '',
    });
    const performed = await a.perform({
      ...names,
      protocol: v3,
      cookieIn: prepared.cookieOut,
      migrationUri: prepared.migrationUri,
      options: undefined,
    });
    const finished = await b.finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false });
    const confirmed = await a.confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });

    expect(prepared.migrationUri).toMatch(/^tcp:127\.0\.0\.1:\d+$/);
    expect(finished.domain).toMatchObject({ uuid: guest.uuid, state: DomainState.DOMAIN_STATE_RUNNING });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_COMPLETED);
    expect(confirmed.statistics?.blackoutUs).toBeGreaterThan(0n);
    await world.expectSettled(guest, world.b);
  });

  it('v2: the source ends its copy by itself once Finish has succeeded', async () => {
    const guest = await world.boot(world.a);
    const [a, b] = [callsOf(world.a), callsOf(world.b)];
    const names = { migrationId: randomUUID(), domain: guest.name };

    const { domainXml } = await a.dumpXml(names);
    const prepared = await b.prepare({
      migrationId: names.migrationId,
      protocol: v2,
      domainXml,
      cookieIn: none,
      migrationUri: '',
    });
    const performed = await a.perform({
      ...names,
      protocol: v2,
      cookieIn: none,
      migrationUri: prepared.migrationUri,
      options: undefined,
    });
    expect(performed.cookieOut).toHaveLength(0);
    // The source's copy is still there, paused: a Finish that fails must not lose the guest.
    expect(await world.domainOn(world.a, guest)).toMatchObject({
      state: DomainState.DOMAIN_STATE_MIGRATED,
      job: 'MIGRATION_OUT',
    });
    const finished = await b.finish({ ...names, protocol: v2, cookieIn: none, cancelled: false });

    expect(finished.domain?.uuid).toBe(guest.uuid);
    await world.expectSettled(guest, world.b);
  });

  it('v3: runs on the source again when Finish is cancelled', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name };
    await sendTo(guest, names, v3);

    const finished = await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn: none, cancelled: true });
    expect(finished.domain).toBeUndefined();
    const confirmed = await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_FAILED);
    await world.expectSettled(guest, world.a);
  });

  it('v2: runs on the source again when Finish is cancelled', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name };
    await sendTo(guest, names, v2);

    await callsOf(world.b).finish({ ...names, protocol: v2, cookieIn: none, cancelled: true });
    await world.expectSettled(guest, world.a);
  });

  it('v3: a Confirm that says cancelled although the destination took over does not resume the source', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name };
    const performed = await sendTo(guest, names, v3);
    await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false });

    // The reply to Finish was lost, say.
    const confirmed = await callsOf(world.a).confirm({ ...names, cookieIn: none, cancelled: true });
    expect(confirmed.outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });

  it('v3: a cancelled Finish after one that succeeded does not end the guest', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name };
    const performed = await sendTo(guest, names, v3);
    const finished = await callsOf(world.b).finish({
      ...names,
      protocol: v3,
      cookieIn: performed.cookieOut,
      cancelled: false,
    });
    const again = await callsOf(world.b).finish({ ...names, protocol: v3, cookieIn: none, cancelled: true });
    expect(again).toEqual(finished);
    await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    await world.expectSettled(guest, world.b);
  });

  it('gives the same answer to a call that is repeated, whichever it is', async () => {
    const guest = await world.boot(world.a);
    const [a, b] = [callsOf(world.a), callsOf(world.b)];
    const names = { migrationId: randomUUID(), domain: guest.uuid };
    const twice = async <T>(call: () => Promise<T>): Promise<T> => {
      const first = await call();
      expect(await call()).toEqual(first);
      return first;
    };

    const begun = await twice(() => a.begin({ ...names, options: undefined }));
    const prepared = await twice(() =>
      b.prepare({
        migrationId: names.migrationId,
        protocol: v3,
        domainXml: begun.domainXml,
        cookieIn: begun.cookieOut,
        migrationUri: '',
      }),
    );
    const performed = await twice(() =>
      a.perform({
        ...names,
        protocol: v3,
        cookieIn: prepared.cookieOut,
        migrationUri: prepared.migrationUri,
        options: undefined,
      }),
    );
    const finished = await twice(() =>
      b.finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false }),
    );
    await twice(() => a.confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false }));
    // And once more from the beginning, now that it is over.
    expect(await a.begin({ ...names, options: undefined })).toEqual(begun);
    expect(await b.finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false })).toEqual(
      finished,
    );
    await world.expectSettled(guest, world.b);
  });

  it('executes one of two calls that come together, and refuses the other', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.uuid };
    const performed = await sendTo(guest, names, v3);
    const finish = () =>
      callsOf(world.b).finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false });
    const both = await Promise.allSettled([finish(), finish(), finish()]);
    const won = both.filter((result) => result.status === 'fulfilled');
    expect(won.length).toBeGreaterThanOrEqual(1);
    for (const lost of both.filter((result) => result.status === 'rejected')) {
      expect(await refusal(Promise.reject(lost.reason))).toMatchObject({ reason: 'phase-in-progress' });
    }
    await callsOf(world.a).confirm({ ...names, cookieIn: won[0]?.value.cookieOut ?? none, cancelled: false });
    await world.expectSettled(guest, world.b);
  });

  it('refuses phases out of order, of unknown and of foreign migrations, and changes nothing', async () => {
    const guest = await world.boot(world.a);
    const [a, b] = [callsOf(world.a), callsOf(world.b)];
    const names = { migrationId: randomUUID(), domain: guest.uuid };
    const foreign = { migrationId: randomUUID(), domain: guest.uuid };
    const perform = { protocol: v3, cookieIn: none, migrationUri: 'tcp:127.0.0.1:1', options: undefined };

    expect(await refusal(a.perform({ ...names, ...perform }))).toMatchObject({ reason: 'unknown-migration' });
    expect(await refusal(a.confirm({ ...names, cookieIn: none, cancelled: true }))).toMatchObject({
      reason: 'unknown-migration',
    });
    expect(await refusal(b.finish({ ...names, protocol: v3, cookieIn: none, cancelled: true }))).toMatchObject({
      reason: 'unknown-migration',
    });

    const begun = await a.begin({ ...names, options: undefined });
    expect(await refusal(a.begin({ ...foreign, options: undefined }))).toMatchObject({
      reason: 'already-migrating',
      side: Side.SIDE_SOURCE,
    });
    expect(await refusal(a.perform({ ...foreign, ...perform }))).toMatchObject({ reason: 'foreign-migration' });
    const prepared = await b.prepare({
      migrationId: names.migrationId,
      protocol: v3,
      domainXml: begun.domainXml,
      cookieIn: begun.cookieOut,
      migrationUri: '',
    });
    expect(
      await refusal(
        b.prepare({
          migrationId: foreign.migrationId,
          protocol: v2,
          domainXml: begun.domainXml,
          cookieIn: none,
          migrationUri: '',
        }),
      ),
    ).toMatchObject({
      reason: 'already-migrating',
      side: Side.SIDE_DEST,
      phase: Phase.PHASE_PREPARE,
    });
    expect(await refusal(b.finish({ ...foreign, protocol: v3, cookieIn: none, cancelled: true }))).toMatchObject({
      reason: 'foreign-migration',
    });

    const performed = await a.perform({
      ...names,
      ...perform,
      cookieIn: prepared.cookieOut,
      migrationUri: prepared.migrationUri,
    });
    const finished = await b.finish({ ...names, protocol: v3, cookieIn: performed.cookieOut, cancelled: false });
    await a.confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    await world.expectSettled(guest, world.b);
  }, 90_000);

  /** Begin to Perform, or DumpXml to Perform. */
  async function sendTo(
    _guest: TestGuest,
    names: { migrationId: string; domain: string },
    protocol: typeof v2 | typeof v3,
  ) {
    const [a, b] = [callsOf(world.a), callsOf(world.b)];
    const begun =
      protocol === v3
        ? await a.begin({ ...names, options: undefined })
        : { ...(await a.dumpXml(names)), cookieOut: none };
    const prepared = await b.prepare({
      migrationId: names.migrationId,
      protocol,
      domainXml: begun.domainXml,
      cookieIn: begun.cookieOut,
      migrationUri: '',
    });
    return a.perform({
      ...names,
      protocol,
      cookieIn: prepared.cookieOut,
      migrationUri: prepared.migrationUri,
      options: undefined,
    });
  }
});

describe('peer to peer', () => {
  it.each([
    ['v3', v3],
    ['v2', v2],
  ])(
    '%s: memory arrives intact while it is being dirtied, and no tick is lost or repeated',
    async (_name, protocol) => {
      const guest = await world.boot(world.a, { memoryMiB: 256, dirty: '32M', rate: '40M', tickMs: 2 });
      const events = await world.migrate(guest, { protocol });
      const { outcome, failure, statistics } = endOf(events);
      expect(failure).toBeUndefined();
      expect(outcome).toBe(Outcome.OUTCOME_COMPLETED);
      expect(statistics?.memoryTransferredBytes).toBeGreaterThan(32n * 1024n * 1024n);
      expect(statistics?.blackoutUs).toBeGreaterThan(0n);
      const phases = events.flatMap(({ event }) =>
        event?.$case === 'phaseChanged' && event.value.done ? [event.value.phase] : [],
      );
      const wanted =
        protocol === v3
          ? [Phase.PHASE_BEGIN3, Phase.PHASE_PREPARE, Phase.PHASE_PERFORM3, Phase.PHASE_FINISH3, Phase.PHASE_CONFIRM3]
          : [Phase.PHASE_PREPARE, Phase.PHASE_PERFORM2, Phase.PHASE_FINISH2];
      expect(phases).toEqual(wanted);
      const report = await world.expectSettled(guest, world.b);
      expect(report).toMatchObject({ gaps: 0, repeats: 0, bad: 0, checksumsOk: true });
    },
  );

  it('there and back again, over TCP and over a UNIX socket', async () => {
    const guest = await world.boot(world.a);
    expect(endOf(await world.migrate(guest)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    const migrationUri = `unix:${join(world.lab.dir, 'sockets', 'm')}`;
    expect(endOf(await world.migrate(guest, { migrationUri }, world.b, world.a)).failure).toBeUndefined();
    await world.expectSettled(guest, world.a);
  });

  it.each([
    ['v3', v3],
    ['v2', v2],
  ])('%s: a guest that its user has paused arrives paused', async (_name, protocol) => {
    const guest = await world.boot(world.a);
    await callsOf(world.a).suspend(guest.name);
    expect(endOf(await world.migrate(guest, { protocol })).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    expect(await world.domainOn(world.b, guest)).toMatchObject({ state: DomainState.DOMAIN_STATE_PAUSED });
    await callsOf(world.b).resume(guest.name);
    await world.expectSettled(guest, world.b);
  });

  it('goes on when the caller hangs up, and shows its events again from the beginning', async () => {
    const guest = await world.boot(world.a, { memoryMiB: 128, dirty: '32M', rate: '16M' });
    const migrationId = randomUUID();
    const options = { bandwidthBytesPerSecond: 20_000_000n, downtimeLimitMs: 0 };
    const request = { migrationId, options };
    const leaving = new AbortController();
    await expect(
      (async () => {
        for await (const event of world.watchMigrate(guest, request, leaving.signal)) {
          if (event.event?.$case === 'progress') leaving.abort(new Error('hung up'));
        }
      })(),
    ).rejects.toThrow('hung up');
    const events = await world.migrate(guest, request);
    expect(events[0]?.event).toMatchObject({ $case: 'phaseChanged', value: { phase: Phase.PHASE_BEGIN3 } });
    expect(endOf(events).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
  });

  it('can be given up while memory flows: the guest runs on and both sides are clear', async () => {
    const guest = await world.boot(world.a, { memoryMiB: 128, dirty: '32M', rate: '16M' });
    const migrationId = randomUUID();
    const options = { bandwidthBytesPerSecond: 5_000_000n, downtimeLimitMs: 1 };
    const events = [];
    for await (const event of world.watchMigrate(guest, { migrationId, options })) {
      events.push(event);
      if (event.event?.$case === 'progress' && events.length < 20) {
        await callsOf(world.a)
          .abort({ migrationId, domain: guest.name })
          .catch(() => undefined);
      }
    }
    expect(endOf(events)).toMatchObject({
      outcome: Outcome.OUTCOME_CANCELLED,
      failure: { reason: 'migration-cancelled' },
    });
    await world.expectSettled(guest, world.a);
  });

  it('with disks: each is open for writing on one host at a time, and QEMU’s image locks hold', async () => {
    const described = world.describe();
    const disks = ['virtio', 'sata'].map((bus, i) => {
      const file = join(world.lab.files, `${described.uuid}-${bus}.qcow2`);
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, '16M']);
      const target = bus === 'virtio' ? 'vda' : 'sda';
      return `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='${file}'/><target dev='${target}' bus='${bus}'/><serial>disk-${i}</serial></disk>`;
    });
    const guest = { ...described, xml: described.xml.replace('<devices>', `<devices>${disks.join('')}`) };
    await callsOf(world.a).start(guest.xml);
    await world.ticksOn(guest);
    const before = (await callsOf(world.a).getDomain(guest.uuid)).domainXml;
    // Both hosts are this machine, so its file system is one that both see.
    const options = { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 0, unsafe: true };
    const end = endOf(await world.migrate(guest, { options }));
    expect(end).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
    await world.expectSettled(guest, world.b);
    // The addresses were assigned once and travelled along.
    expect((await callsOf(world.b).getDomain(guest.uuid)).domainXml).toBe(before);
    expect(before.match(/<address /g)?.length).toBeGreaterThanOrEqual(2);

    // The guest runs on b, so its disks are locked there: a second domain cannot have them.
    const thief = world.describe();
    const xml = thief.xml.replace('<devices>', `<devices>${disks.join('')}`);
    const refused = await refusal(callsOf(world.a).start(xml));
    expect(refused).toMatchObject({ reason: expect.stringMatching(/qemu-start-failed|qemu-refused/) });
    expect(refused.message).toMatch(/lock/i);
    await world.expectSettled(guest, world.b);
  });

  it('several guests at once', async () => {
    const guests = await Promise.all(Array.from({ length: 4 }, () => world.boot(world.a, { tickMs: 20 })));
    const ends = await Promise.all(guests.map(async (guest) => endOf(await world.migrate(guest))));
    expect(ends.map((end) => end.outcome)).toEqual(guests.map(() => Outcome.OUTCOME_COMPLETED));
    await Promise.all(guests.map((guest) => world.expectSettled(guest, world.b)));
  });
});
