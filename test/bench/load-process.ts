/**
 * A caller without manners, as a process of its own: watches a migration often and never reads, asks for lists in a loop, begins calls that it gives up
 * after 1 ms, and sends messages that inflate. Its arguments are a LoadPlan as JSON; it says `ready`, and ends with its standard input.
 */
import { readFileSync } from 'node:fs';
import { connect, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { PrepareRequest } from '@ferry/proto/ferry/v1/dest_agent';
import { GetMigrationRequest } from '@ferry/proto/ferry/v1/migration';
import type { LoadPlan } from './load.ts';

const plan = JSON.parse(process.argv[2] ?? '') as LoadPlan;
const [ca, cert, key] = [readFileSync(plan.tls.ca), readFileSync(plan.tls.cert), readFileSync(plan.tls.key)];
const streamsPerConnection = 500;
/** How soon one that was refused tries again, ms. */
const againMs = 20;
const beatMs = 10;

function frame(message: Uint8Array, compressed = 0): Buffer {
  const head = Buffer.from([compressed, 0, 0, 0, 0]);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

const names = frame(GetMigrationRequest.encode({ migrationId: plan.migrationId, domain: plan.domain }).finish());
const bomb = frame(
  gzipSync(PrepareRequest.encode(PrepareRequest.fromPartial({ cookieIn: Buffer.alloc(7 * 2 ** 20) })).finish()),
  1,
);

function open(address: string, initialWindowSize: number): ClientHttp2Session {
  const session = connect(`https://${address}`, { ca, cert, key, settings: { initialWindowSize } });
  return session.on('error', () => undefined);
}

function begin(session: ClientHttp2Session, path: string, message: Buffer, more = {}): ClientHttp2Stream {
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...more };
  const stream = session.request(headers);
  stream.on('error', () => undefined);
  stream.end(message);
  return stream;
}

/** Begins it again whenever it ends; of a window of 0, nothing is ever read. */
function forever(session: ClientHttp2Session, path: string, message: Buffer): void {
  const again = (): void => {
    if (session.destroyed) return;
    const stream = begin(session, path, message).on('close', () => setTimeout(again, againMs));
    stream.resume();
  };
  again();
}

for (const { address, service } of plan.agents) {
  for (let left = plan.watchers; left > 0; left -= streamsPerConnection) {
    const silent = open(address, 0);
    for (let n = Math.min(left, streamsPerConnection); n > 0; n -= 1)
      forever(silent, `/ferry.v1.${service}/WatchMigration`, names);
  }
  const asking = open(address, 65_535);
  if (service === 'SourceAgent')
    for (let n = 0; n < plan.lists; n += 1) forever(asking, '/ferry.v1.Domains/List', frame(Buffer.alloc(0)));
  const hasty = open(address, 65_535);
  setInterval(() => {
    for (let n = 0; n < (plan.callsPerSecond * beatMs) / 1_000; n += 1) {
      const stream = begin(hasty, `/ferry.v1.${service}/GetMigration`, names, { 'grpc-timeout': '1m' });
      setTimeout(() => stream.close(), 1);
    }
    if (plan.bombs) begin(hasty, '/ferry.v1.DestAgent/Prepare', bomb, { 'grpc-encoding': 'gzip' });
  }, beatMs);
}
process.stdin.on('end', () => process.exit()).resume();
process.stdout.write('ready\n');
