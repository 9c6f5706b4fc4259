/** What a QEMU proves itself with to the QEMU at the other end of a migration. */
import { getDiffieHellman } from 'node:crypto';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Monitor, QmpError } from '@ferry/qemu-qmp';
import type { QemuUser } from './confinement.ts';

/** The object's id in QEMU. */
const objectId = 'ferry-memory';
const userName = 'ferry';

/** 64 hexadecimal digits, or a directory of certificates; with none of them memory flows in the clear. */
export type MemoryCredentials =
  | { readonly kind: 'none' }
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'x509'; readonly dir: string };

/** Where a key is while QEMU needs it: the destination's reads the file at each handshake (gnutls_psk_set_server_credentials_file). */
const keyDirectory = (domainDir: string): string => join(domainDir, 'memory-key');

/**
 * The group of RFC 3526 §3 as PKCS #3 has it. Without such a file QEMU makes a group of its own for each server (qcrypto_tls_creds_get_dh_params_file):
 * 40–800 ms in which its main loop stands still, for a key exchange that TLS 1.3 does not use.
 */
function dhParameters(): string {
  const der = Buffer.concat([
    Buffer.from('308201080282010100', 'hex'),
    getDiffieHellman('modp14').getPrime(),
    Buffer.from('020102', 'hex'),
  ]);
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN DH PARAMETERS-----', ...lines, '-----END DH PARAMETERS-----', ''].join('\n');
}

/** What qom/object.c says of an id that is taken. */
const taken = /duplicate property/i;

/**
 * Gives a QEMU its part of the credentials and answers with what `tls-creds` is to be set to, "" for none. The source is the client. The key is in
 * a file that only this user reads, never in a command. Throws QmpError; the errors of the file system.
 */
export async function giveMemoryCredentials(
  monitor: Monitor,
  domain: { readonly dir: string; readonly user: QemuUser | undefined },
  credentials: MemoryCredentials,
  endpoint: 'server' | 'client',
  signal: AbortSignal,
): Promise<string> {
  if (credentials.kind === 'none') return '';
  const dir = credentials.kind === 'key' ? keyDirectory(domain.dir) : credentials.dir;
  if (credentials.kind === 'key') {
    await rm(dir, { recursive: true, force: true });
    // The directory stays the agent's own: who may write in it could have the key written elsewhere.
    await mkdir(dir, { mode: domain.user === undefined ? 0o700 : 0o711 });
    const write = async (name: string, text: string): Promise<void> => {
      await using file = await open(join(dir, name), 'wx', 0o600);
      await file.writeFile(text);
      if (domain.user !== undefined) await file.chown(domain.user.uid, domain.user.gid);
    };
    // crypto/tlscredspsk.c: USER:KEY in keys.psk.
    await write('keys.psk', `${userName}:${credentials.key}\n`);
    if (endpoint === 'server') await write('dh-params.pem', dhParameters());
  }
  // A server takes whichever user its file names.
  const named = endpoint === 'client' ? { username: userName } : {};
  const add = () =>
    credentials.kind === 'key'
      ? monitor.execute('object-add', { 'qom-type': 'tls-creds-psk', id: objectId, dir, endpoint, ...named }, signal)
      : monitor.execute(
          'object-add',
          { 'qom-type': 'tls-creds-x509', id: objectId, dir, endpoint, 'verify-peer': true },
          signal,
        );
  try {
    await add().catch(async (error: unknown) => {
      // An earlier migration of this QEMU has left its own.
      if (!(error instanceof QmpError) || !taken.test(error.message)) throw error;
      await monitor.execute('object-del', { id: objectId }, signal);
      await add();
    });
  } finally {
    // A client has read it by now.
    if (credentials.kind === 'key' && endpoint === 'client') await rm(dir, { recursive: true, force: true });
  }
  return objectId;
}

/** How long QEMU may take to forget a key. */
const forgetMs = 10_000;

/** Takes them back once no handshake can follow. Throws nothing: what stays in QEMU is replaced by its next migration. */
export async function takeMemoryCredentials(monitor: Monitor, domainDir: string): Promise<void> {
  const signal = AbortSignal.timeout(forgetMs);
  await rm(keyDirectory(domainDir), { recursive: true, force: true }).catch(() => undefined);
  try {
    const { 'tls-creds': creds } = await monitor.execute('query-migrate-parameters', {}, signal);
    if (creds !== objectId) return;
    await monitor.execute('migrate-set-parameters', { 'tls-creds': '' }, signal);
    await monitor.execute('object-del', { id: objectId }, signal);
  } catch {
    // QEMU ends, or does not answer in time.
  }
}
