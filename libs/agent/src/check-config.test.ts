import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { checkConfig } from './check-config.ts';
import { makeCertificates } from './testing/certificates.ts';

const [serverAuth, clientAuth] = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'];
let dir: string;
let redis: PrivateRedis;
let good: Record<string, string>;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-check-'));
  redis = await startRedis();
  const tls = await makeCertificates(dir, 'good', ['127.0.0.1'], ['spiffe://test/ferry/agent/a'], {
    daysLeft: 90,
    usages: [clientAuth, serverAuth],
  });
  await mkdir(join(dir, 'state'), { mode: 0o700 });
  good = {
    PATH: process.env['PATH'] ?? '',
    FERRY_HOST: 'a',
    FERRY_LISTEN: '127.0.0.1:0',
    FERRY_REDIS_URL: redis.socket,
    FERRY_STATE_DIR: join(dir, 'state'),
    FERRY_TLS_CERT: tls.cert,
    FERRY_TLS_KEY: tls.key,
    FERRY_TLS_CA: tls.ca,
  };
});
afterAll(async () => {
  await redis[Symbol.asyncDispose]();
  await rm(dir, { recursive: true });
});

/** What is wrong, one line each. */
async function wrongIn(env: Record<string, string>): Promise<string[]> {
  const findings = await checkConfig('dest', { ...good, ...env });
  return findings.filter(({ is }) => is === 'wrong').map(({ what, says }) => `${what}: ${says}`);
}

it('says of each part that it is fine', async () => {
  const findings = await checkConfig('dest', good);
  expect(findings.filter(({ is }) => is === 'wrong')).toEqual([]);
  const whats = findings.filter(({ is }) => is === 'fine').map(({ what }) => what);
  expect(whats).toEqual(['environment', 'certificates', 'state directory', 'QEMU', 'Redis', 'ports', 'ports']);
  // Nothing is kept by this Redis.
  expect(findings).toContainEqual({
    is: 'doubtful',
    what: 'Redis',
    says: 'appendonly is no: set yes: a restart loses all records',
  });
});

it('says everything at once', async () => {
  const expired = await makeCertificates(dir, 'expired', ['192.0.2.1'], ['spiffe://test/ferry/agent/b'], {
    daysLeft: -1,
    usages: [serverAuth],
  });
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const old = join(dir, 'qemu-old');
  await writeFile(old, '#!/bin/sh\necho QEMU emulator version 6.2.0\n');
  await chmod(old, 0o755);
  const { port } = taken.address() as AddressInfo;
  const long = join(dir, 'x'.repeat(60));
  const found = await wrongIn({
    FERRY_LEASE_MS: 'soon',
    FERRY_LISTEN: `127.0.0.1:${port}`,
    FERRY_REDIS_URL: join(dir, 'nowhere.sock'),
    FERRY_STATE_DIR: long,
    FERRY_QEMU: old,
    FERRY_TLS_CERT: expired.cert,
  });
  taken.close();
  expect(found).toEqual([
    'environment: FERRY_LEASE_MS: must be a whole number',
    expect.stringMatching(/^certificates: .*good\.key is not the key of .*expired\.crt/),
    expect.stringMatching(/^certificates: CN=expired in .* has expired on /),
    expect.stringMatching(/^certificates: .* was not issued by an authority in .*good-ca\.crt/),
    expect.stringMatching(/^certificates: .* lacks the extended key usage clientAuth/),
    expect.stringMatching(
      /^certificates: .* does not say that it is the agent of a but of b: .*URI:spiffe:\/\/SITE\/ferry\/agent\/a$/,
    ),
    expect.stringMatching(/^state directory: .* is too long: /),
    expect.stringMatching(/^QEMU: .*qemu-old is 6\.2\.0: 7\.2 or newer is needed/),
    expect.stringMatching(/^Redis: it does not answer \(.*ENOENT.*is FERRY_REDIS_URL right/),
    expect.stringMatching(/^ports: FERRY_LISTEN 127\.0\.0\.1:\d+: another program listens there/),
  ]);
});

describe('a certificate', () => {
  it('that is not for the address that others call is named, with both', async () => {
    const found = await wrongIn({ FERRY_ADDRESS: '192.0.2.7:7102' });
    expect(found).toEqual([expect.stringMatching(/is for .*127\.0\.0\.1.*, and others call 192\.0\.2\.7: add it/)]);
  });

  it('that expires soon is doubtful', async () => {
    const soon = await makeCertificates(dir, 'soon', ['127.0.0.1'], ['spiffe://test/ferry/agent/a'], { daysLeft: 3 });
    const findings = await checkConfig('source', {
      ...good,
      FERRY_TLS_CERT: soon.cert,
      FERRY_TLS_KEY: soon.key,
      FERRY_TLS_CA: soon.ca,
    });
    expect(findings.filter(({ is }) => is === 'wrong')).toEqual([]);
    expect(findings).toContainEqual(
      expect.objectContaining({ is: 'doubtful', says: expect.stringMatching(/expires in [23] days: renew it/) }),
    );
  });
});

describe('check-config', () => {
  const main = fileURLToPath(import.meta.resolve('../../../services/dest-agent/src/main.ts'));
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [main, 'check-config', ...args], { env: good, encoding: 'utf8' });

  it('prints a line for each part; status 0 if an agent could serve', () => {
    const { status, stdout } = run();
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^ok {7}environment .*\n(.*\n)*ok {7}Redis {12}it answers/),
    });
  });

  it('reads files as systemd does, of which one may be missing; status 78 if it could not', async () => {
    const file = join(dir, 'agent.env');
    await writeFile(file, '# a comment\nFERRY_QEMU=/nowhere/qemu\n');
    const { status, stdout } = run('--settings', file, '--settings', join(dir, 'missing.env'));
    expect({ status, stdout }).toEqual({
      status: 78,
      stdout: expect.stringMatching(/^WRONG {4}QEMU {13}\/nowhere\/qemu cannot be run/m),
    });
  });

  it('says how it is used', () => {
    const { status, stderr } = run('--nothing');
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining('check-config [--settings FILE]'),
    });
  });
});
