/** A guest's memory is readable for the two QEMUs of its migration alone, and a destination's QEMU takes in the right guest alone. */
import { randomUUID } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Cookie, CookieEnvelope } from '@ferry/proto/ferry/v1/cookie';
import { MemoryTls, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, eventually, refusal, type TestGuest, World } from './world.ts';

const none = Buffer.alloc(0);
const v2 = { protocol: Protocol.PROTOCOL_V2 } as const;
const clear = { options: { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 0, memoryTls: MemoryTls.MEMORY_TLS_NONE } };
const x509 = { options: { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 0, memoryTls: MemoryTls.MEMORY_TLS_X509 } };

/** A connection of a stranger to where a QEMU waits, that says `words` and is closed by either side. */
async function stranger(uri: string, words: string): Promise<void> {
  const [, host = '', port] = /^tcp:(.+):(\d+)$/.exec(uri) ?? [];
  const socket = connect({ host, port: Number(port) });
  socket.on('error', () => undefined);
  socket.end(words);
  await eventually('the stranger is gone', () => socket.closed);
}

/** Connects to where a QEMU waits, says nothing, and comes again when the connection has ended, until disposed of. */
function silentStranger(uri: string) {
  const [, host = '', port] = /^tcp:(.+):(\d+)$/.exec(uri) ?? [];
  const counts = { connected: 0, ended: 0 };
  let socket: Socket | undefined;
  const come = (): void => {
    socket = connect({ host, port: Number(port) })
      .on('connect', () => (counts.connected += 1))
      .on('error', () => undefined)
      .on('close', () => {
        counts.ended += 1;
        if (socket !== undefined) setTimeout(come, 10).unref();
      });
  };
  come();
  const leave = async (): Promise<void> => {
    const last = socket;
    socket = undefined;
    last?.destroy();
  };
  return Object.assign(counts, { [Symbol.asyncDispose]: leave });
}

const keyOf = (cookie: Uint8Array): string => Cookie.decode(CookieEnvelope.decode(cookie).content).memoryKey;

/** The files below a directory that can be read, as text. */
const textsIn = (dir: string): string =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');

/** Arguments and environments of all processes of this machine that can be read. */
const processTexts = (): string =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => ['cmdline', 'environ'].map((name) => readSafe(join('/proc', pid, name))))
    .join('\n');

function readSafe(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

describe('without a word about it', () => {
  let world: World;
  let guest: TestGuest;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await callsOf(world.b).destroy(guest.uuid);
  });

  /** Begin and Prepare of a migration from a to b. */
  async function prepared() {
    guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.name, protocol: Protocol.PROTOCOL_V3 } as const;
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
    const request = { migrationId: names.migrationId, protocol: names.protocol, ...place };
    const answer = await callsOf(world.b).prepare(request);
    const rest = async (): Promise<void> => {
      const way = { cookieIn: answer.cookieOut, migrationUri: answer.migrationUri, options: undefined };
      const performed = await callsOf(world.a).perform({ ...names, ...way });
      const finished = await callsOf(world.b).finish({ ...names, cookieIn: performed.cookieOut, cancelled: false });
      await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
      await world.expectSettled(guest, world.b);
    };
    return { answer, again: () => callsOf(world.b).prepare(request), rest };
  }

  it('a stranger who connects first gets nothing, and the migration survives it', async () => {
    const { answer, rest } = await prepared();
    for (const words of ['QEVM', 'GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\x00\x05hello', ''])
      await stranger(answer.migrationUri, words);
    await rest();
  });

  it('a stranger who says nothing is shut out, however often it comes again', async () => {
    const { answer, rest } = await prepared();
    await using silent = silentStranger(answer.migrationUri);
    await eventually('it waits at the port', () => silent.connected > 0);
    await rest();
    expect(silent.ended).toBeGreaterThan(0);
  });

  it('there is another key each time, which a repeated Prepare gives again, and which is kept nowhere', async () => {
    const first = await prepared();
    const key = keyOf(first.answer.cookieOut);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(await first.again()).toEqual(first.answer);
    await first.rest();
    await eventually('no QEMU needs it any more', () => !textsIn(world.b.stateDir).includes(key));
    const records = await Promise.all(
      (await world.lab.redis.client.keys('*')).map((name) => world.lab.redis.client.dumpBuffer(name)),
    );
    const places = {
      redis: records.map((record) => record?.toString('latin1')).join('\n'),
      // Journals, records, agents' logs and QEMUs' own.
      files: textsIn(world.lab.dir),
      processes: processTexts(),
    };
    for (const [place, text] of Object.entries(places)) expect([place, text.includes(key)]).toEqual([place, false]);
    expect(statSync(join(world.b.stateDir, 'dest-secret')).mode & 0o777).toBe(0o600);
    await callsOf(world.b).destroy(guest.uuid);
    const second = await prepared();
    expect(keyOf(second.answer.cookieOut)).not.toBe(key);
    await second.rest();
  });
});

describe('where a host requires it', () => {
  let world: World;
  let guest: TestGuest;
  let dir: string;
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'ferry-x509-'));
    world = await World.start({
      env: ({ host }) => ({
        FERRY_REQUIRE_TLS: '1',
        ...(host === 'c' ? {} : { FERRY_MEMORY_TLS_DIR: dir }),
      }),
      hosts: ['a', 'b', 'c'],
      agents: 'not-started',
    });
    const { ca, cert, key } = world.lab.tls;
    mkdirSync(dir, { recursive: true });
    copyFileSync(ca, join(dir, 'ca-cert.pem'));
    for (const side of ['server', 'client']) {
      copyFileSync(cert, join(dir, `${side}-cert.pem`));
      copyFileSync(key, join(dir, `${side}-key.pem`));
    }
    await Promise.all(Object.values(world.lab.hosts).flatMap((host) => [host.source.start(), host.dest.start()]));
    guest = await world.boot(world.a);
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  it('v3 has its key', async () => {
    expect(endOf(await world.migrate(guest)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    expect(endOf(await world.migrate(guest, {}, world.b, world.a)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
  });

  it('v2 has the hosts’ certificates, if it is asked for', async () => {
    expect(endOf(await world.migrate(guest, { ...v2, ...x509 })).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.b);
    expect(endOf(await world.migrate(guest, { ...x509 }, world.b, world.a)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    await world.expectSettled(guest, world.a);
  });

  it.each([
    ['v2 without a word', v2],
    ['v2 in the clear', { ...v2, ...clear }],
    ['v3 in the clear', clear],
  ])('%s is refused before anything is sent', async (_what, wish) => {
    const { outcome, failure } = endOf(await world.migrate(guest, wish));
    expect({ outcome, reason: failure?.reason }).toEqual({
      outcome: Outcome.OUTCOME_FAILED,
      reason: 'memory-not-encrypted',
    });
    await world.expectSettled(guest, world.a);
  });

  it('a host without certificates says so', async () => {
    const { failure } = endOf(await world.migrate(guest, x509, world.a, world.lab.host('c')));
    expect(failure).toMatchObject({ reason: 'memory-not-encrypted', message: expect.stringContaining('host c') });
    await world.expectSettled(guest, world.a);
    const asked = callsOf(world.lab.host('c')).prepare({
      migrationId: randomUUID(),
      ...v2,
      domainXml: world.describe().xml,
      cookieIn: none,
      migrationUri: '',
      memoryTls: MemoryTls.MEMORY_TLS_X509,
    });
    expect(await refusal(asked)).toMatchObject({ reason: 'memory-not-encrypted' });
  });
});
