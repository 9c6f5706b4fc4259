import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { CertificateAuthority } from './certificates.ts';

let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-test-'));
});
afterAll(async () => rm(dir, { recursive: true }));

describe('a certificate authority', () => {
  it('issues certificates for loopback, signed by it, with a key only its owner reads', async () => {
    const authority = await CertificateAuthority.create('test');
    const files = await authority.issue('a', dir, 'agent/a');
    const certificate = new X509Certificate(await readFile(files.cert));
    const ca = new X509Certificate(await readFile(files.ca));
    expect(certificate.verify(ca.publicKey)).toBe(true);
    expect(certificate.checkIssued(ca)).toBe(true);
    expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(certificate.checkHost('localhost')).toBe('localhost');
    expect(certificate.subjectAltName).toContain('URI:spiffe://ferry.lab/a/ferry/agent/a');
    expect(certificate.ca).toBe(false);
    expect(ca.ca).toBe(true);
    expect((await stat(files.key)).mode & 0o777).toBe(0o600);
  });

  it('does not vouch for another one', async () => {
    const [one, other] = [await CertificateAuthority.create('one'), await CertificateAuthority.create('other')];
    const files = await one.issue('b', dir, 'agent/b');
    const certificate = new X509Certificate(await readFile(files.cert));
    expect(certificate.verify(new X509Certificate(other.pem).publicKey)).toBe(false);
  });
});
