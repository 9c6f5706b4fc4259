import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DomainState } from '@ferry/proto/ferry/v1/domains';
import { Migration } from '@ferry/proto/ferry/v1/migration';
import { status } from '@grpc/grpc-js';
import { domain, failure, FakeHost, ownership } from './testing/fake-host.ts';
import { runFerry, runWith } from './testing/run-ferry.ts';

let a: FakeHost;
let b: FakeHost;
let gone: FakeHost;
let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-test-'));
  gone = await FakeHost.start('gone');
  await gone[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await a?.[Symbol.asyncDispose]();
  await b?.[Symbol.asyncDispose]();
  [a, b] = [await FakeHost.start('a'), await FakeHost.start('b')];
  b.does.domains = [];
});
afterAll(async () => {
  await a[Symbol.asyncDispose]();
  await b[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

const uuid = domain().uuid;

describe('ferry list', () => {
  it('shows a table', async () => {
    b.does.domains = [
      domain({ name: 'db', state: DomainState.DOMAIN_STATE_INCOMING, job: 'MIGRATION_IN', migrationId: 'x' }),
    ];
    const ran = await runFerry([a, b], ['list']);
    expect(ran).toEqual({
      status: 0,
      stderr: '',
      stdout: `HOST  NAME   STATE     MEMORY   VCPUS  PID   JOB
a     web-1  running   256 MiB  1      4711  -
b     db     incoming  256 MiB  1      4711  MIGRATION_IN x
`,
    });
  });

  it('shows what it can when a host is away, and says so', async () => {
    const ran = await runFerry([gone, a], ['list', '--json']);
    const [first, second] = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line): unknown => JSON.parse(line));
    expect(first).toEqual({
      host: 'a',
      name: 'web-1',
      uuid,
      state: 'running',
      memoryBytes: 268_435_456,
      vcpus: 1,
      qemuPid: 4711,
    });
    expect(second).toMatchObject({ event: 'error', exitStatus: 4 });
    expect(ran.status).toBe(4);
  });
});

describe('ferry where', () => {
  const paused = DomainState.DOMAIN_STATE_PAUSED;
  const incoming = DomainState.DOMAIN_STATE_INCOMING;
  it.each([
    [
      'one host has it',
      [domain()],
      [domain({ state: incoming })],
      0,
      'web-1 is running on a\nweb-1 is incoming on b\n',
    ],
    [
      'two say that they do',
      [domain()],
      [domain({ state: paused })],
      7,
      'web-1 is running on a\nweb-1 is paused on b\n',
    ],
    ['nobody does', [], [], 1, ''],
    ['nobody runs it', [], [domain({ state: incoming })], 7, 'web-1 is incoming on b\n'],
    [
      'nobody runs it while it migrates',
      [],
      [domain({ state: incoming, job: 'MIGRATION_IN', migrationId: 'x' })],
      8,
      'web-1 is incoming on b, MIGRATION_IN x\n',
    ],
  ])('%s', async (_, onA, onB, expected, stdout) => {
    [a.does.domains, b.does.domains] = [onA, onB];
    b.does.incoming = Migration.fromPartial({ active: true });
    const ran = await runFerry([a, b], ['where', 'web-1']);
    expect([ran.status, ran.stdout]).toEqual([expected, stdout]);
  });
});

describe('what cannot be asked', () => {
  const unavailable = () => failure('register-unavailable', 'Redis did not answer', status.UNAVAILABLE);

  it('is told of the record, which is the answer before fencing', async () => {
    a.does.errors = { where: unavailable() };
    const ran = await runFerry([a, b], ['where', 'web-1']);
    expect(ran).toMatchObject({ status: 4, stdout: 'web-1 is running on a\n  owner   not known\n' });
    expect(ran.stderr).toContain('which host owns web-1 is not known: Redis did not answer');
    const [, second] = (await runFerry([a, b], ['where', 'web-1', '--json'])).stdout.trimEnd().split('\n');
    expect(JSON.parse(second ?? '')).toMatchObject({ event: 'owner-unknown' });
  });

  it('is told of records that are damaged, also where another one was found', async () => {
    a.does.domains = [];
    a.does.damaged = ['x-1', 'x-2'];
    for (const owner of [undefined, ownership('a')]) {
      a.does.owner = owner;
      const ran = await runFerry([a, b], ['where', 'web-1']);
      expect(ran.status).toBe(4);
      expect(ran.stderr).toContain('ownership records that are damaged were skipped: "x-1", "x-2"');
      expect(ran.stdout).toContain(owner === undefined ? '' : 'owner   a');
    }
  });

  it('is told of a host, and hinders nobody where the record confirms another one', async () => {
    a.does.owner = ownership('a');
    const ran = await runFerry([gone, a], ['where', 'web-1']);
    expect(ran.status).toBe(0);
    expect(ran.stderr).toContain('the source agent of gone');
    a.does.owner = ownership('gone');
    expect((await runFerry([gone, a], ['where', 'web-1'])).status).toBe(7);
  });

  it('is told of a migration whose agent does not say whether it is in doubt', async () => {
    a.does.domains = [domain({ job: 'MIGRATION_OUT', migrationId: 'x', state: DomainState.DOMAIN_STATE_MIGRATED })];
    const ran = await runFerry([a, b], ['where', 'web-1']);
    expect(ran.status).toBe(4);
    expect(ran.stderr).toContain('whether migration x is in doubt is not known');
  });

  it('is told of the jobs that hold domains', async () => {
    a.does.domains = [domain({ jobUnknown: 'Redis did not answer' })];
    const ran = await runFerry([a, b], ['list']);
    expect(ran).toMatchObject({ status: 4, stdout: expect.stringContaining('4711  ?\n') });
    expect(ran.stderr).toContain('cannot tell which migrations hold its domains: Redis did not answer');
  });

  it('is no proof that there are no domains', async () => {
    expect(await runFerry([gone], ['list'])).toMatchObject({ status: 4, stdout: '' });
  });
});

describe('two domains of one name', () => {
  it('are told apart by their UUIDs', async () => {
    b.does.domains = [domain({ uuid: '11111111-1111-4111-8111-111111111111' })];
    const ran = await runFerry([a, b], ['where', 'web-1']);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain(`2 domains are named web-1: ${uuid}, 11111111-1111-4111-8111-111111111111`);
  });
});

describe('the owner', () => {
  const line = (who: string, why = `started on host ${who}`) =>
    `  owner   ${who} since 2026-11-24T04:00:00.000Z (epoch 2: ${why})\n`;

  it('is told with the guest, also as JSON', async () => {
    a.does.owner = ownership('a');
    expect(await runFerry([a, b], ['where', 'web-1'])).toEqual({
      status: 0,
      stderr: '',
      stdout: `web-1 is running on a\n${line('a')}`,
    });
    expect(a.received).toContainEqual(['where', { domain: uuid }]);
    const lines = (await runFerry([a, b], ['where', 'web-1', '--json'])).stdout.trimEnd().split('\n');
    expect(lines.map((each): unknown => JSON.parse(each))).toMatchObject([
      { host: 'a', state: 'running' },
      {
        name: 'web-1',
        uuid,
        owner: 'a',
        epoch: 2,
        evidence: 'started on host a',
        since: '2026-11-24T04:00:00.000Z',
      },
    ]);
  });

  it('is told by another host while its own is away, and what to do if that is gone', async () => {
    a.does.domains = [];
    a.does.owner = ownership('gone');
    const away = await runFerry([gone, a], ['where', 'web-1']);
    expect(away).toMatchObject({ status: 4, stdout: line('gone') });
    const unheard = await runFerry([a], ['where', 'web-1']);
    expect(unheard).toMatchObject({ status: 7, stdout: line('gone') });
    expect(unheard.stderr).toContain('ferry forget web-1 --host gone');
  });

  it('that nobody is any more is said', async () => {
    a.does.domains = [];
    a.does.owner = ownership('', { evidence: 'its QEMU on host a has ended' });
    const ran = await runFerry([a], ['where', 'web-1']);
    expect(ran).toMatchObject({ status: 1, stdout: line('none', 'its QEMU on host a has ended') });
  });

  it('that is not the host which has the guest is a contradiction, except while it migrates', async () => {
    a.does.owner = ownership('b');
    const ran = await runFerry([a, b], ['where', 'web-1']);
    expect(ran.status).toBe(7);
    expect(ran.stderr).toContain('host a has web-1, and host b owns it');
    a.does.domains = [domain({ job: 'MIGRATION_OUT', migrationId: 'x' })];
    a.does.migration = Migration.fromPartial({ migrationId: 'x', active: true });
    expect((await runFerry([a, b], ['where', 'web-1'])).status).toBe(0);
  });

  it('is forgotten only if it does not answer, by the word of another host', async () => {
    a.does.owner = ownership('gone');
    const forgotten = await runFerry([gone, a], ['forget', 'web-1', '--host', 'gone']);
    expect(forgotten).toEqual({ status: 0, stderr: '', stdout: 'web-1 has no owner now; it was host gone\n' });
    expect(a.received).toContainEqual(['forget', { domain: 'web-1', host: 'gone' }]);

    const refused = await runFerry([a, b], ['forget', 'web-1', '--host', 'a']);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('host a answers: it is not gone');
    expect(b.calls).not.toContain('forget');

    a.does.errors = { forget: failure('invalid-request', 'belongs to host b', status.INVALID_ARGUMENT) };
    expect((await runFerry([gone, a], ['forget', 'web-1', '--host', 'gone'])).status).toBe(1);
  });

  it('a host is forgotten only if it does not answer, by the word of another one', async () => {
    const forgotten = await runFerry([gone, a], ['forget-host', 'gone']);
    expect(forgotten).toEqual({
      status: 0,
      stderr: '',
      stdout: 'host gone (e1d3) is forgotten: another host may have its name\n',
    });
    expect(a.received).toContainEqual(['forgetHost', { host: 'gone' }]);
    const refused = await runFerry([a, b], ['forget-host', 'a']);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('host a answers: it is not gone');
    expect(b.calls).not.toContain('forgetHost');

    a.does.errors = { forgetHost: failure('host-alive', 'its agents serve', status.FAILED_PRECONDITION) };
    expect((await runFerry([gone, a], ['forget-host', 'gone'])).status).toBe(1);
  });

  it('refuses a start elsewhere', async () => {
    b.does.errors = { start: failure('owned-elsewhere', 'it belongs to host a', status.FAILED_PRECONDITION) };
    const file = join(dir, 'owned.xml');
    writeFileSync(file, '<domain/>');
    const ran = await runFerry([a, b], ['start', file, '--host', 'b']);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toContain('ferry forget NAME --host HOST');
  });
});

describe('commands on a domain', () => {
  it('go to the host that has it', async () => {
    b.does.domains = [domain({ name: 'db' })];
    for (const command of ['suspend', 'resume', 'shutdown', 'destroy']) {
      const ran = await runFerry([a, b], [command, 'db']);
      expect([command, ran.status]).toEqual([command, 0]);
    }
    expect(b.calls.filter((call) => call !== 'list')).toEqual(['suspend', 'resume', 'shutdown', 'destroy']);
  });

  it('print a domain and its document', async () => {
    expect((await runFerry([a, b], ['dumpxml', 'web-1'])).stdout).toBe('<domain/>\n');
    expect((await runFerry([a, b], ['get', uuid])).stdout).toContain('memory  256 MiB\n');
    expect(JSON.parse((await runFerry([a, b], ['get', uuid, '--json'])).stdout)).toMatchObject({
      host: 'a',
      domainXml: '<domain/>',
    });
  });

  it('want to know which host when several have it', async () => {
    b.does.domains = [domain()];
    const ran = await runFerry([a, b], ['suspend', 'web-1']);
    expect(ran.stderr).toContain('say which one is meant with --host');
    expect(ran.status).toBe(2);
    expect((await runFerry([a, b], ['suspend', 'web-1', '--host', 'b'])).status).toBe(0);
    expect(b.calls).toContain('suspend');
  });

  it('start and adopt send the document', async () => {
    const file = join(dir, 'guest.xml');
    writeFileSync(file, '<domain>ä</domain>');
    expect((await runFerry([a, b], ['start', file, '--host', 'a', '--paused'])).stdout).toBe(
      `web-1 started on a: running, ${uuid}\n`,
    );
    expect((await runFerry([a, b], ['adopt', file, '--host', 'a', '--monitor', '/run/m'])).status).toBe(0);
    expect(a.received).toEqual([
      ['start', { domainXml: '<domain>ä</domain>', paused: true }],
      ['adopt', { domainXml: '<domain>ä</domain>', monitorPath: '/run/m' }],
    ]);
  });

  it('pass on what the agent says', async () => {
    a.does.errors = {
      suspend: failure('job-held', 'MIGRATION_OUT holds it', status.ABORTED, { side: 'source', retryable: 'true' }),
    };
    const ran = await runFerry([a, b], ['suspend', 'web-1']);
    expect(ran.stderr).toBe(
      'ferry: MIGRATION_OUT holds it\n  reason  job-held (source)\n  next    wait for the job that holds the domain, or give it up\n',
    );
    expect(ran.status).toBe(1);
  });
});

describe('ferry used wrongly', () => {
  it.each([
    ['no command', []],
    ['an unknown command', ['mirgate']],
    ['an unknown host', ['list', '--host', 'z']],
    ['a missing option', ['migrate', 'web-1', '--from', 'a']],
    ['a bad amount', ['migrate', 'web-1', '--from', 'a', '--to', 'b', '--bandwidth', 'fast']],
    ['a bad UUID', ['watch', 'x']],
    ['a missing document', ['start', '/nonexistent.xml', '--host', 'a']],
    ['a guest that does not fit', ['guest', 'x', '--dirty', '64M', '--memory', '16']],
  ])('says what is wrong and ends with 2: %s', async (_, args) => {
    const ran = await runFerry([a, b], args);
    expect(ran.stderr).not.toBe('');
    expect(ran.status).toBe(2);
    expect(a.calls).toEqual([]);
  });

  it.each([
    ['is not there', undefined, /ENOENT/],
    ['is not JSON', '{', /JSON/],
    ['has no hosts', '{"hosts":[]}', /hosts: /],
    [
      'has an address without a port',
      '{"hosts":[{"name":"a","source":"x","dest":"x:1"}]}',
      /hosts\.0\.source: must be HOST:PORT/,
    ],
    [
      'has no certificates for another machine',
      '{"hosts":[{"name":"a","source":"192.0.2.1:1","dest":"127.0.0.1:1"}]}',
      /`tls` is needed/,
    ],
    [
      'names certificates that are not there',
      '{"hosts":[{"name":"a","source":"x:1","dest":"x:1"}],"tls":{"ca":"/x","cert":"/x","key":"/x"}}',
      /certificates/,
    ],
  ])('a hosts file %s', async (_, content, why) => {
    const file = join(dir, 'hosts.json');
    await rm(file, { force: true });
    if (content !== undefined) writeFileSync(file, content);
    const ran = await runWith({}, ['list', '--hosts-file', file]);
    expect(ran.stderr).toMatch(why);
    expect(ran.status).toBe(2);
  });
});

describe('ferry guest', () => {
  it('prints a document', async () => {
    const ran = await runWith({}, ['guest', 'web-1', '--dirty', '4M', '--memory', '32', '--console', '/tmp/x.console']);
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain("<source path='/tmp/x.console'");
    expect(ran.stdout).toContain('<name>web-1</name>');
  });
});
