import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { Migration, MigrationEvent, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { endedEvent, failure, FakeHost, goodMigration, play } from './testing/fake-host.ts';
import { runFerry, until } from './testing/run-ferry.ts';

const id = '0f8fad5b-d9cb-469f-a165-70867728950e';
const migrate = ['migrate', 'web-1', '--from', 'a', '--to', 'b', '--id', id];

async function twoHosts() {
  const [a, b] = [await FakeHost.start('a'), await FakeHost.start('b')];
  return {
    a,
    b,
    async [Symbol.asyncDispose]() {
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
    },
  };
}

const objects = (text: string): unknown[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line): unknown => JSON.parse(line));

describe('ferry migrate, peer to peer', () => {
  it('shows plain lines in a pipe', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const ran = await runFerry([a, b], [...migrate, '--bandwidth', '100M', '--downtime', '1.5s']);
    expect(ran.stderr).toBe('');
    expect(ran.status).toBe(0);
    expect(ran.stdout).toBe(`web-1 a → b, protocol v3, peer to peer, migration ${id}
   0.000 s  source  begin3            began
   0.005 s  source  begin3            done in 4.57 ms
   0.006 s  dest    prepare           began
   0.160 s  dest    prepare           done in 154 ms
   0.161 s  source  perform3          began
   0.200 s  memory  50 MiB sent, 64 MiB left of 256 MiB, pass 2, 100 MiB/s
   0.400 s  source  guest stopped
   0.420 s  source  perform3          done in 2.26 s
   0.421 s  dest    finish3           began
   0.430 s  dest    finish3           done in 9 ms
   0.430 s  dest    guest runs
web-1 is on host b now
  blackout  18.3 ms from STOP on the source to RESUME on the destination, of which 1.10 ms control plane
  memory    100 MiB sent for 256 MiB in 3 passes
  QEMU      2.31 s in total, 0 µs of it setup; it counts 15 ms of downtime
`);
    expect(a.received).toEqual([
      [
        'migrate',
        {
          migrationId: id,
          domain: 'web-1',
          destination: b.dest,
          protocol: Protocol.PROTOCOL_V3,
          migrationUri: '',
          options: { bandwidthBytesPerSecond: 104_857_600n, downtimeLimitMs: 1500 },
        },
      ],
    ]);
  });

  it('takes a document for the destination, and the risk', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const altered = join(import.meta.dirname, '../../../libs/domain-xml/src/testing/documents/tiny-rom.out.xml');
    const more = ['--unsafe', '--xml', altered];
    expect((await runFerry([a, b], [...migrate, ...more])).status).toBe(0);
    const domainXml = readFileSync(altered, 'utf8');
    expect(a.received).toMatchObject([['migrate', { domainXml, options: { unsafe: true } }]]);
    expect((await runFerry([a, b], [...migrate, '--direct', ...more])).status).toBe(0);
    expect(a.received).toContainEqual(['begin', expect.objectContaining({ domainXml })]);
    const [, perform] = a.received.find(([method]) => method === 'perform') ?? [];
    expect(perform).toMatchObject({ options: { unsafe: true } });

    a.received.length = 0;
    await runFerry([a, b], [...migrate, '--direct', '--v2', '--unsafe']);
    expect(a.received[0]).toMatchObject(['dumpXml', { options: { unsafe: true } }]);

    const calls = a.received.length;
    const inV2 = await runFerry([a, b], [...migrate, '--v2', '--xml', altered]);
    expect(inV2).toMatchObject({ status: 2, stderr: expect.stringContaining('--xml needs protocol version 3') });
    const missing = await runFerry([a, b], [...migrate, '--xml', '/nowhere.xml']);
    expect(missing).toMatchObject({ status: 2, stderr: expect.stringContaining('/nowhere.xml cannot be read') });
    expect(a.received).toHaveLength(calls);
  });

  it('draws on a terminal: one row a phase, with its time', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const [first, rest] = [goodMigration().slice(0, 6), goodMigration().slice(6)];
    const shown = Promise.withResolvers<void>();
    a.does.migrate = (stream) => {
      for (const event of first) stream.write({ event });
      void shown.promise.then(() => play(stream, rest));
    };
    const ran = await runFerry([a, b], migrate, {
      terminal: true,
      during: async (_, printed) => {
        await until(() => printed().includes('█'));
        shown.resolve();
      },
    });
    expect(ran.status).toBe(0);
    const rows = stripVTControlCharacters(ran.stdout);
    for (const row of [/✔ Begin .* 4\.57 ms/, /✔ Perform .* 2\.26 s/, /✔ Confirm/, /web-1 is on host b now/])
      expect(rows).toMatch(row);
    expect(rows).toMatch(/█+░+ {2}50 MiB sent, 64 MiB left of 256 MiB/);
  });

  it('prints one JSON object a line', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const ran = await runFerry([a, b], ['--json', ...migrate, '--v2']);
    expect(ran.status).toBe(0);
    const printed = objects(ran.stdout);
    expect(printed[0]).toEqual({
      event: 'migration',
      migrationId: id,
      domain: 'web-1',
      from: 'a',
      to: 'b',
      protocol: 2,
      mode: 'peer to peer',
    });
    expect(printed[2]).toEqual({
      event: 'phase',
      at: '2026-11-23T02:00:55.005Z',
      side: 'source',
      phase: 'begin3',
      done: true,
      tookUs: 4570,
    });
    expect(printed.at(-1)).toMatchObject({ event: 'ended', outcome: 'completed', statistics: { blackoutUs: 18_300 } });
    expect(printed).toHaveLength(goodMigration().length + 1);
  });

  it('says why it failed, where the guest is, and what to do', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.migrate = (stream) =>
      play(stream, [
        endedEvent(0, { outcome: Outcome.OUTCOME_FAILED, reason: 'disk-missing', message: 'no file /x on host b' }),
      ]);
    const ran = await runFerry([a, b], migrate);
    expect(ran.status).toBe(1);
    expect(ran.stdout).toContain('failed: web-1 is on host a as it was\n');
    expect(ran.stderr).toBe(`ferry: no file /x on host b
  reason  disk-missing (dest, prepare)
  next    put the file on the destination under the same path, or share it between the hosts
`);
    const json = objects((await runFerry([a, b], [...migrate, '--json'])).stdout);
    expect(json.at(-1)).toMatchObject({
      event: 'error',
      reason: 'disk-missing',
      side: 'dest',
      phase: 'prepare',
      exitStatus: 1,
    });
  });

  it.each([
    ['already-migrating', status.FAILED_PRECONDITION, 1],
    ['redis-unavailable', status.UNAVAILABLE, 4],
    ['in-doubt', status.UNAVAILABLE, 5],
  ])('ends with the status of an error at once: %s', async (reason, code, expected) => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.errors = { migrate: failure(reason, 'no', code, { side: 'source', phase: 'begin3' }) };
    const ran = await runFerry([a, b], migrate);
    expect(ran.stderr).toContain(`  reason  ${reason} (source, begin3)\n`);
    expect(ran.status).toBe(expected);
  });

  it('says that the agent cannot be reached', async () => {
    const { a, b } = await twoHosts();
    await a[Symbol.asyncDispose]();
    const ran = await runFerry([a, b], migrate);
    await b[Symbol.asyncDispose]();
    expect(ran.status).toBe(4);
    expect(ran.stderr).toContain(`the source agent of a (${a.source}) cannot be reached`);
  });

  it('asks to abort at Ctrl-C, and waits for what comes of it', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.migrate = (stream) => {
      stream.write({ event: goodMigration()[0] });
      a.does.abort = () =>
        play(stream, [endedEvent(10, { outcome: Outcome.OUTCOME_CANCELLED, reason: 'migration-cancelled' })]);
    };
    const ran = await runFerry([a, b], migrate, {
      during: async (child, printed) => {
        await until(() => printed().includes('began'));
        child.kill('SIGINT');
      },
    });
    expect(a.received.at(-1)).toEqual(['abortMigration', { migrationId: id, domain: 'web-1' }]);
    expect(ran.stdout).toContain('cancelled: web-1 is on host a as it was\n');
    expect(ran.status).toBe(3);
  });

  it.each([
    ['once the agent gives it up', true, `the agents give the migration up: ferry watch ${id} says how it ends\n`],
    ['before the agent has answered', false, 'the agent has not answered whether it gives the migration up'],
  ])('leaves at the second Ctrl-C, and says what is true: %s', async (_when, answers, says) => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.migrate = (stream) => void stream.write({ event: goodMigration()[0] });
    if (!answers) a.does.abort = () => new Promise<never>(() => undefined);
    const ran = await runFerry([a, b], migrate, {
      during: async (child, printed) => {
        await until(() => printed().includes('began'));
        child.kill('SIGINT');
        await until(() => printed().includes(answers ? 'being given up' : 'asking to abort'));
        child.kill('SIGINT');
      },
    });
    expect(ran.status).toBe(130);
    expect(ran.stdout).toContain(`left; ${says}`);
  });

  it('goes on watching when the stream breaks, and shows nothing twice', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.migrate = (stream) => {
      for (const event of goodMigration().slice(0, 4)) stream.write({ event });
      stream.emit('error', { code: status.UNAVAILABLE, details: 'the agent was restarted' });
    };
    const ran = await runFerry([a, b], migrate);
    expect(a.calls).toEqual(['migrate', 'getMigration', 'watchMigration']);
    expect(ran.stdout.match(/prepare +began/g)).toHaveLength(1);
    expect(ran.status).toBe(0);
  });

  it('asks for the end when the stream broke and the migration ended meanwhile', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.migration = Migration.fromPartial({
      outcome: Outcome.OUTCOME_FAILED,
      active: false,
      failure: { reason: 'incoming-failed', message: 'gone' },
    });
    a.does.migrate = (stream) => play(stream, goodMigration().slice(0, 4));
    const ran = await runFerry([a, b], migrate);
    expect(ran.stderr).toContain('reason  incoming-failed');
    expect(ran.status).toBe(1);
  });

  it('is not confused by events that it does not know', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.migrate = (stream) => play(stream, [MigrationEvent.create({}), ...goodMigration()]);
    const ran = await runFerry([a, b], migrate);
    expect(ran.status).toBe(0);
  });
});

describe('ferry migrate --direct', () => {
  it('drives v3 and passes each cookie on', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const ran = await runFerry([a, b], [...migrate, '--direct']);
    expect(ran.stderr).toBe('');
    expect(ran.status).toBe(0);
    const calls = a.received.filter(([method]) => method !== 'watchMigration');
    expect(calls.map(([method]) => method)).toEqual(['begin', 'perform', 'confirm']);
    expect(b.calls).toEqual(['prepare', 'finish']);
    expect(b.received[0]?.[1]).toMatchObject({ cookieIn: Buffer.from('from begin'), domainXml: '<domain/>' });
    expect(calls[1]?.[1]).toMatchObject({ cookieIn: Buffer.from('from prepare'), migrationUri: 'tcp:127.0.0.1:49152' });
    expect(b.received[1]?.[1]).toMatchObject({ cookieIn: Buffer.from('from perform'), cancelled: false });
    expect(calls[2]?.[1]).toMatchObject({ cookieIn: Buffer.from('from finish'), cancelled: false });
    expect(ran.stdout).toContain('web-1 is on host b now\n');
  });

  it('drives v2, which has no cookies and no Confirm', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const ran = await runFerry([a, b], [...migrate, '--direct', '--v2']);
    expect(ran.status).toBe(0);
    expect(a.calls.filter((method) => method !== 'watchMigration')).toEqual(['dumpXml', 'perform']);
    expect(b.received.map(([method, request]) => [method, request])).toMatchObject([
      ['prepare', { protocol: Protocol.PROTOCOL_V2, cookieIn: Buffer.alloc(0) }],
      ['finish', { protocol: Protocol.PROTOCOL_V2, cancelled: false }],
    ]);
  });

  it('lets the source decide and ends the incoming guest when Perform fails', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    a.does.errors = {
      perform: failure('migration-failed', 'QEMU says no', status.ABORTED, { side: 'source', phase: 'perform3' }),
    };
    a.does.migration = Migration.fromPartial({ outcome: Outcome.OUTCOME_FAILED });
    const ran = await runFerry([a, b], [...migrate, '--direct']);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain('QEMU says no\n  reason  migration-failed (source, perform3)\n');
    expect(a.received.find(([method]) => method === 'confirm')?.[1]).toMatchObject({ cancelled: true });
    expect(b.received.at(-1)).toMatchObject(['finish', { cancelled: true }]);
  });

  it('is in doubt while the source has not settled', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const lost = Object.assign(new Error('lost'), { code: status.UNAVAILABLE });
    a.does.errors = { perform: lost, confirm: lost };
    a.does.migration = Migration.fromPartial({ active: true });
    const ran = await runFerry([a, b], [...migrate, '--direct']);
    expect(ran.stderr).toContain(`next    ferry watch ${id}, then ferry where web-1`);
    expect(ran.status).toBe(5);
  });
});

describe('ferry watch and abort', () => {
  it('find out by themselves which host sends', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    b.does.migration = Migration.fromPartial({
      migrationId: id,
      domainName: 'web-1',
      domainUuid: id,
      peer: 'a',
      active: true,
      protocol: 3,
    });
    const watched = await runFerry([a, b], ['watch', id]);
    expect(watched.stdout).toContain('web-1 b → a, protocol v3, watched');
    expect(watched.status).toBe(0);
    const asked = await runFerry([a, b], ['abort', id]);
    expect(asked.stdout).toBe(`asked b to give up migration ${id} of web-1\n`);
    expect(b.calls.at(-1)).toBe('abortMigration');
  });

  it('say that nobody knows of it', async () => {
    await using hosts = await twoHosts();
    const { a, b } = hosts;
    const ran = await runFerry([a, b], ['watch', id]);
    expect(ran.stderr).toContain(`no host knows of a migration ${id}`);
    expect(ran.status).toBe(1);
  });
});
