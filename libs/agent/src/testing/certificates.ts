import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import type { TlsFiles } from '../config.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const makeKeys = () => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);

/** Makes an authority and a certificate for some addresses that is signed by it, and writes them to `dir`, named after `name`. */
export async function makeCertificates(
  dir: string,
  name: string,
  addresses = ['127.0.0.1'],
  names = ['spiffe://test/ferry/admin', 'spiffe://test/ferry/agent/test'],
  { daysLeft = 1, usages = [] }: { daysLeft?: number; usages?: string[] } = {},
): Promise<TlsFiles> {
  x509.cryptoProvider.set(webcrypto);
  const [caKeys, keys] = await Promise.all([makeKeys(), makeKeys()]);
  const validity = {
    notBefore: new Date(Date.now() - 100 * 86_400_000),
    notAfter: new Date(Date.now() + daysLeft * 86_400_000),
  };
  const common = { ...validity, signingAlgorithm: algorithm };
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...common,
    serialNumber: serialNumber(),
    name: `CN=${name} authority`,
    keys: caKeys,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  const leaf = await x509.X509CertificateGenerator.create({
    ...common,
    serialNumber: serialNumber(),
    subject: `CN=${name}`,
    issuer: ca.subject,
    publicKey: keys.publicKey,
    signingKey: caKeys.privateKey,
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        ...addresses.map((value) => ({ type: 'ip' as const, value })),
        ...names.map((value) => ({ type: 'url' as const, value })),
      ]),
      ...(usages.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...usages])]),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const files = { cert: join(dir, `${name}.crt`), key: join(dir, `${name}.key`), ca: join(dir, `${name}-ca.crt`) };
  await Promise.all([
    writeFile(files.cert, `${leaf.toString('pem')}\n`),
    writeFile(files.key, `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`, { mode: 0o600 }),
    writeFile(files.ca, `${ca.toString('pem')}\n`),
  ]);
  return files;
}

/** Positive, so the first bit is 0. */
const serialNumber = (): string => `01${randomBytes(8).toString('hex')}`;
