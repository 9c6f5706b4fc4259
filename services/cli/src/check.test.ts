import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Prevents } from '@ferry/proto/ferry/v1/domains';
import { status } from '@grpc/grpc-js';
import { failure, FakeHost } from './testing/fake-host.ts';
import { runFerry, runWith } from './testing/run-ferry.ts';

const document = (devices: string): string =>
  `<domain type='qemu'><name>web-1</name><memory>65536</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
${devices}</devices></domain>`;
const cached = "<disk type='file'><source file='/a'/><target dev='vda'/></disk>";

let a: FakeHost;
let dir: string;
let file: string;
const written = (devices: string): void => writeFileSync(file, document(devices));
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-check-'));
  file = join(dir, 'guest.xml');
});
afterAll(() => rmSync(dir, { recursive: true }));
beforeEach(async () => {
  a = await FakeHost.start('a');
});
afterEach(() => a[Symbol.asyncDispose]());

describe('ferry check, without a host', () => {
  const check = (...more: string[]) => runWith({ FERRY_HOSTS: '/nowhere' }, ['check', file, ...more]);

  it('says that a document is supported', async () => {
    written('');
    expect(await check()).toEqual({
      status: 0,
      stderr: '',
      stdout: `${file} is supported: it could run, and migrate\n`,
    });
  });

  it('names what is not supported, by line', async () => {
    written("<hostdev mode='subsystem' type='usb'/>");
    expect(await check()).toEqual({
      status: 1,
      stderr: '',
      stdout: `${file}:3: cannot run (xml-unsupported): /domain/devices/hostdev: element <hostdev> is not supported. A device of the host cannot be moved
${file} is not supported
`,
    });
  });

  it('names what is unsafe to move', async () => {
    written(cached);
    const ran = await check('--json');
    expect([ran.status, ran.stderr]).toEqual([1, '']);
    expect(JSON.parse(ran.stdout)).toEqual({
      file,
      ok: false,
      run: true,
      migrate: false,
      findings: [
        {
          prevents: 'safe-migration',
          reason: 'migration-unsafe',
          path: '/domain/devices/disk/driver/@cache',
          line: 0,
          what: expect.stringContaining("cache='default'"),
          hint: "Use cache='none' or 'directsync'",
        },
      ],
    });
  });

  it('says why a file is no document', async () => {
    rmSync(file);
    const ran = await check('--json');
    expect([ran.status, JSON.parse(ran.stdout)]).toMatchObject([1, { findings: [{ reason: 'xml-malformed' }] }]);
  });
});

describe('ferry check --host', () => {
  const check = (...more: string[]) => runFerry([a], ['check', file, '--host', 'a', ...more]);
  const about = { path: '', line: 0, hint: 'choose another host' };

  it('passes the document on, and says that it could run and migrate', async () => {
    written('');
    expect(await check()).toEqual({ status: 0, stderr: '', stdout: `${file} could run on a, and migrate\n` });
    expect(a.received).toEqual([['check', { domainXml: document('') }]]);
  });

  it('says what is in the way, and what is not', async () => {
    written('');
    a.does.findings = [
      {
        prevents: Prevents.PREVENTS_SAFE_MIGRATION,
        reason: 'migration-unsafe',
        ...about,
        path: '/domain/x',
        what: 'x',
      },
      { prevents: Prevents.PREVENTS_NOTHING, reason: 'cpu-unsupported', ...about, what: 'y', hint: '' },
    ];
    expect(await check()).toEqual({
      status: 1,
      stderr: '',
      stdout: `${file}: unsafe to move (migration-unsafe): /domain/x: x. choose another host
${file}: note (cpu-unsupported): y
${file} could run on a, and migrate only with --unsafe
`,
    });
    a.does.findings = [{ prevents: Prevents.PREVENTS_RUNNING, reason: 'not-enough-memory', ...about, what: 'too big' }];
    const ran = await check('--json');
    expect(ran.status).toBe(1);
    const findings = [{ prevents: 'running', reason: 'not-enough-memory', ...about, what: 'too big' }];
    expect(JSON.parse(ran.stdout)).toEqual({ file, host: 'a', ok: false, run: false, migrate: false, findings });
  });

  it('a note alone keeps nothing from happening', async () => {
    written('');
    a.does.findings = [{ prevents: Prevents.PREVENTS_NOTHING, reason: 'cpu-unsupported', ...about, what: 'y' }];
    expect((await check()).status).toBe(0);
  });

  it('passes on an agent’s refusal, and does not ask without a document', async () => {
    written('');
    a.does.errors['check'] = failure('draining', 'the agent is about to end', status.UNAVAILABLE, {
      retryable: 'true',
    });
    expect(await check()).toMatchObject({ status: 4, stderr: expect.stringContaining('the agent is about to end') });
    rmSync(file);
    expect(await check()).toMatchObject({ status: 2, stderr: expect.stringContaining('cannot be read') });
    expect(a.received).toHaveLength(1);
  });
});
