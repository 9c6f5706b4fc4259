import { gzipSync } from 'node:zlib';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { DestAgentService, PrepareRequest } from '@ferry/proto/ferry/v1/dest_agent';
import { failureFromWire } from '@ferry/rpc';
import { status } from '@grpc/grpc-js';
import { describe, expect, it } from '@jest/globals';
import { CallAccounts } from './call-limits.ts';
import { follow, invoke } from './client.ts';
import { Ongoing } from './ongoing.ts';
import { finishRequest, migrationId, prepareRequest, startTestAgent, type TestAgent } from './testing/agent.ts';

const patient = AbortSignal.timeout(60_000);
const { prepare, finish, watchMigration } = DestAgentService;

const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => undefined,
    (error: unknown) => (typeof error === 'object' && error !== null && 'code' in error ? error.code : error),
  );

async function refusalOf(call: Promise<unknown>): Promise<unknown> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return { code, ...failureFromWire(error) };
}

/** HTTP/2 by hand, with a certificate that is right: what no gRPC library would send. */
function http2({ server, tls }: TestAgent, initialWindowSize: number): ClientHttp2Session {
  const [ca, cert, key] = [readFileSync(tls.ca), readFileSync(tls.cert), readFileSync(tls.key)];
  const session = connectHttp2(`https://${server.address}`, { ca, cert, key, settings: { initialWindowSize } });
  return session.on('error', () => undefined);
}

/** The status of a call whose one message is sent with these headers. */
function callByHand(
  session: ClientHttp2Session,
  path: string,
  message: Buffer,
  headers = {},
  compressed = 0,
): Promise<string> {
  const frame = Buffer.concat([Buffer.from([compressed, 0, 0, 0, 0]), message]);
  frame.writeUInt32BE(message.length, 1);
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const note = (fields: Record<string, unknown>): void => {
    const code = fields['grpc-status'];
    if (typeof code === 'string') resolve(code);
  };
  stream
    .on('response', note)
    .on('trailers', note)
    .on('error', reject)
    .on('close', () => reject(new Error('closed')))
    .resume();
  stream.end(frame);
  return promise;
}

describe('a certificate', () => {
  it('has so many calls that have not ended; others are not concerned, and the next one is taken when one has ended', async () => {
    const answers: (() => void)[] = [];
    const waiting = () => new Promise<never>((_resolve, reject) => answers.push(() => reject(new Error('done'))));
    await using agent = await startTestAgent({ prepare: waiting }, { limits: { openMax: 5 } });
    const calls = Array.from({ length: 5 }, () => invoke(agent.client, prepare, prepareRequest, patient));
    const ended = Promise.allSettled(calls);
    while (answers.length < 5) await delay(5, undefined, { signal: patient });
    const refused = await refusalOf(invoke(agent.client, finish, finishRequest, patient));
    expect(refused).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: 'too-many-calls', retryable: true });
    for (const answer of answers) answer();
    await ended;
    await invoke(agent.client, finish, finishRequest, patient);
  });

  it('has those whose answers it does not read', async () => {
    await using agent = await startTestAgent({}, { limits: { openMax: 5 } });
    const session = http2(agent, 0);
    const unread = Array.from({ length: 5 }, () =>
      callByHand(session, prepare.path, Buffer.from(PrepareRequest.encode(prepareRequest).finish())),
    );
    const ended = Promise.allSettled(unread);
    const finishing = () => codeOf(invoke(agent.client, finish, finishRequest, patient));
    while ((await finishing()) !== status.RESOURCE_EXHAUSTED) await delay(5, undefined, { signal: patient });
    session.destroy();
    await ended;
    while ((await finishing()) !== undefined) await delay(5, undefined, { signal: patient });
  });

  it('begins so many a second; what hangs up at once counts too', async () => {
    await using agent = await startTestAgent({}, { limits: { burst: 20, perSecond: 0 } });
    const session = http2(agent, 65_535);
    const message = Buffer.from(PrepareRequest.encode(prepareRequest).finish());
    const hasty = () => callByHand(session, prepare.path, message, { 'grpc-timeout': '1m' });
    await Promise.allSettled(Array.from({ length: 40 }, hasty));
    session.destroy();
    const refused = await refusalOf(invoke(agent.client, finish, finishRequest, patient));
    expect(refused).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: 'too-many-calls' });
  });

  it('earns calls with time, never more than a burst', () => {
    const accounts = new CallAccounts({ openMax: 10, burst: 4, perSecond: 2 });
    const begun = (times: number, atMs: number): number => {
      let count = 0;
      for (let i = 0; i < times; i++) {
        try {
          accounts.begin('ours', atMs).end();
          count += 1;
        } catch {
          // Refused.
        }
      }
      return count;
    };
    expect([begun(9, 0), begun(9, 1_000), begun(9, 60_000)]).toEqual([4, 2, 4]);
    expect(() => accounts.begin('theirs', 60_000)).not.toThrow();
  });
});

it('does not inflate a compressed message', async () => {
  let answered = 0;
  const prepared = async () => {
    answered += 1;
    return { migrationUri: '', cookieOut: Buffer.alloc(0) };
  };
  await using agent = await startTestAgent({ prepare: prepared });
  const message = PrepareRequest.encode({ ...prepareRequest, cookieIn: Buffer.alloc(7 * 2 ** 20) }).finish();
  const session = http2(agent, 65_535);
  const call = callByHand(session, prepare.path, gzipSync(message), { 'grpc-encoding': 'gzip' }, 1);
  expect(await call).toBe(String(status.UNIMPLEMENTED));
  session.destroy();
  expect(answered).toBe(0);
});

describe('a migration', () => {
  const start = { migrationId, domainUuid: migrationId, domainName: 'web-1', side: 'dest', protocol: 3 } as const;

  it('has so many watchers; when one has left, another one may come', async () => {
    const ongoing = new Ongoing(start);
    ongoing.phaseStarted('dest', 'prepare');
    const watch = async function* (_request: unknown, signal: AbortSignal) {
      for await (const event of ongoing.watch(signal)) yield { event };
    };
    await using agent = await startTestAgent({ watch });
    const first = async (signal: AbortSignal): Promise<void> => {
      for await (const _event of follow(agent.client, watchMigration, finishRequest, signal)) return;
    };
    const leaving = new AbortController();
    const streams = Array.from({ length: 64 }, () =>
      follow(agent.client, watchMigration, finishRequest, leaving.signal),
    );
    for (const stream of streams) await stream.next();
    const refused = await refusalOf(first(patient));
    expect(refused).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: 'too-many-watchers', retryable: true });
    leaving.abort();
    await Promise.allSettled(streams.map((stream) => stream.next()));
    for (;;) {
      const again = await refusalOf(first(patient));
      if (JSON.stringify(again) === '{}') break;
    }
  });
});
