/** In a thread of its own: takes the connections to a migration port, and passes on to QEMU those that have the migration's key. */
import { connect, type Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { parentPort, workerData } from 'node:worker_threads';

export interface RelayOrder {
  readonly host: string;
  readonly port: number;
  /** Of the UNIX socket that QEMU listens on. */
  readonly path: string;
  /** 64 hexadecimal digits. */
  readonly key: string;
}

export type RelayWord = { readonly listening: true } | { readonly failed: string };

/** What a QEMU may take for its handshake, ms. */
const handshakeMs = 5_000;
/** Connections whose handshake has not ended. */
const pendingMax = 256;

const { host, port, path, key } = workerData as RelayOrder;
const psk = Buffer.from(key, 'hex');
const pending = new Set<Socket>();

/** Passes bytes on in both directions until either side ends. */
function passOn(outside: TLSSocket): void {
  const qemu = connect({ path });
  outside.pipe(qemu).pipe(outside);
  // The end of a stream is passed on by `pipe`; one that breaks off is broken off.
  outside.on('error', () => qemu.destroy());
  qemu.on('error', () => outside.destroy());
  outside.on('close', () => qemu.end());
  qemu.on('close', () => outside.end());
}

/** The oldest of the address that has the most of them, one that has said nothing if there is one: the source has one, and speaks first. */
function leastLikely(): Socket | undefined {
  const byAddress = Map.groupBy(pending, ({ remoteAddress }) => remoteAddress);
  const [most = []] = [...byAddress.values()].toSorted((a, b) => b.length - a.length);
  return most.find(({ bytesRead }) => bytesRead === 0) ?? most[0];
}

const server = createServer({
  // An external key is of SHA-256 in TLS 1.3.
  ciphers: 'TLS_AES_128_GCM_SHA256',
  minVersion: 'TLSv1.3',
  handshakeTimeout: handshakeMs,
  pskCallback: () => psk,
});
server.on('connection', (socket: Socket) => {
  pending.add(socket);
  socket.once('close', () => pending.delete(socket));
  if (pending.size > pendingMax) leastLikely()?.destroy();
});
server.on('secureConnection', (socket) => {
  // Its own handshake is over; which of the connections it was is told by its address.
  for (const one of pending)
    if (one.remotePort === socket.remotePort && one.remoteAddress === socket.remoteAddress) pending.delete(one);
  passOn(socket);
});
// Who has not the key is a matter of course.
server.on('tlsClientError', () => undefined);

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
const say = (word: RelayWord): void => parentPort?.postMessage(word);
server.once('error', (error) => say({ failed: error.message }));
server.listen({ host, port, exclusive: true }, () => say({ listening: true }));
