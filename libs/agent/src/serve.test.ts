import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { JobError } from '@ferry/jobs';
import { DestAgentClient, DestAgentService, type PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { failureFromWire } from '@ferry/rpc';
import { ChannelCredentials, connectivityState, status } from '@grpc/grpc-js';
import { AgentError } from './errors.ts';
import { dial, follow, invoke, warm } from './client.ts';
import { messageBytesMax } from './limits.ts';
import { serve, type ServeOptions } from './serve.ts';
import { finishRequest, migrationId, prepareRequest, startTestAgent } from './testing/agent.ts';
import { makeCertificates } from './testing/certificates.ts';
import { openCredentials } from './tls.ts';

const patient = AbortSignal.timeout(60_000);
const { prepare, finish, watchMigration } = DestAgentService;

const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'no error',
    (error: unknown) => (error instanceof Error && 'code' in error ? error.code : error),
  );

async function allOf<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const each of stream) all.push(each);
  return all;
}

describe('a call', () => {
  it('is answered, and logged with what it is about', async () => {
    await using agent = await startTestAgent({
      prepare: async (request, _signal, call) => {
        call.log().info('working');
        return { migrationUri: 'tcp:127.0.0.1:5', cookieOut: Buffer.from(request.domainXml) };
      },
    });
    const response = await invoke(agent.client, prepare, prepareRequest, patient);
    expect(response).toEqual({ migrationUri: 'tcp:127.0.0.1:5', cookieOut: Buffer.from('<domain/>') });
    await invoke(agent.client, prepare, prepareRequest, patient);
    const [line] = agent.logged().split('\n');
    expect(JSON.parse(line ?? '')).toMatchObject({ migrationId, side: 'dest', phase: 'prepare', msg: 'working' });
    expect(agent.logged()).not.toContain('<domain/>');
  });

  it('fails with reason, side, phase and what may help', async () => {
    await using agent = await startTestAgent({
      finish: async () => {
        throw new JobError('job-held', 'modify holds web-1');
      },
    });
    const error: unknown = await invoke(agent.client, finish, finishRequest, patient).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: status.ABORTED, details: 'modify holds web-1' });
    expect(failureFromWire(error)).toMatchObject({ reason: 'job-held', side: 2, phase: 9, retryable: true });
  });

  it.each([
    ['', 'web-1'],
    ['not-a-uuid', 'web-1'],
    [migrationId.toUpperCase(), 'web-1'],
    [migrationId, ''],
    [migrationId, 'a\nb'],
    [migrationId, 'x'.repeat(256)],
  ])('names a migration %j and a domain %j that cannot be', async (id, domain) => {
    let called = false;
    await using agent = await startTestAgent({
      finish: async () => {
        called = true;
        return { domain: undefined, cookieOut: Buffer.alloc(0), statistics: undefined };
      },
    });
    const request = { ...finishRequest, migrationId: id, domain };
    const error: unknown = await invoke(agent.client, finish, request, patient).catch((e: unknown) => e);
    expect(failureFromWire(error)?.reason).toBe('invalid-request');
    expect(called).toBe(false);
  });

  it('ends at the caller’s deadline, on both sides', async () => {
    const ended = Promise.withResolvers<unknown>();
    await using agent = await startTestAgent({
      prepare: async (_request, signal) => {
        await once(signal, 'abort');
        ended.resolve(signal.reason);
        throw signal.reason;
      },
    });
    const late = invoke(agent.client, prepare, prepareRequest, patient, { deadline: Date.now() + 50 });
    expect(await codeOf(late)).toBe(status.DEADLINE_EXCEEDED);
    expect(await ended.promise).toMatchObject({ kind: 'deadline-exceeded' });
  });

  it('ends when the caller hangs up', async () => {
    const begun = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<unknown>();
    await using agent = await startTestAgent({
      prepare: async (_request, signal) => {
        begun.resolve();
        await once(signal, 'abort');
        ended.resolve(signal.reason);
        throw signal.reason;
      },
    });
    const caller = new AbortController();
    const call = invoke(agent.client, prepare, prepareRequest, caller.signal);
    await begun.promise;
    caller.abort(new Error('changed my mind'));
    await expect(call).rejects.toThrow('changed my mind');
    expect(await ended.promise).toMatchObject({ kind: 'cancelled' });
  });

  it('is refused if it is too large, and the next one is not', async () => {
    await using agent = await startTestAgent();
    const request = { ...prepareRequest, cookieIn: Buffer.alloc(messageBytesMax) };
    expect(await codeOf(invoke(agent.client, prepare, request, patient))).toBe(status.RESOURCE_EXHAUSTED);
    const other = new DestAgentClient(agent.server.address, agent.credentials.client, {
      'grpc.max_send_message_length': -1,
    });
    expect(await codeOf(invoke(other, prepare, request, patient))).toBe(status.RESOURCE_EXHAUSTED);
    other.close();
    expect(await codeOf(invoke(agent.client, prepare, prepareRequest, patient))).toBe('no error');
  });
});

describe('warming', () => {
  it('connects ahead, waiting for the server if need be', async () => {
    await using agent = await startTestAgent();
    await warm(agent.client, patient);
    expect(agent.client.getChannel().getConnectivityState(false)).toBe(connectivityState.READY);
  });
});

describe('a stream', () => {
  it('gives everything, in order', async () => {
    await using agent = await startTestAgent({
      watch: async function* () {
        for (let i = 0; i < 100; i++) yield { event: { at: new Date(i), event: undefined } };
      },
    });
    const seen: (number | undefined)[] = [];
    for await (const { event } of follow(agent.client, watchMigration, finishRequest, patient)) {
      seen.push(event?.at?.getTime());
    }
    expect(seen).toEqual([...Array(100).keys()]);
  });

  it('waits for a client that does not read', async () => {
    let made = 0;
    const ended = Promise.withResolvers<void>();
    const big = { reason: '', message: 'x'.repeat(100_000), side: 0, phase: 0, retryable: false } as const;
    await using agent = await startTestAgent({
      watch: async function* () {
        try {
          for (;;) {
            made++;
            const value = { outcome: 0, failure: big, statistics: undefined } as const;
            yield { event: { at: undefined, event: { $case: 'ended', value } } };
          }
        } finally {
          ended.resolve();
        }
      },
    });
    for await (const _first of follow(agent.client, watchMigration, finishRequest, patient)) {
      // Whatever fits in between has been made once other calls have gone to and fro.
      for (let i = 0; i < 20; i++) await warm(agent.client, patient);
      break;
    }
    await ended.promise;
    expect(made).toBeLessThan(200);
  });

  it('ends when the client hangs up, even if nothing happens', async () => {
    const ended = Promise.withResolvers<unknown>();
    const begun = Promise.withResolvers<void>();
    await using agent = await startTestAgent({
      watch: async function* (_request, signal) {
        signal.addEventListener('abort', () => ended.resolve(signal.reason));
        begun.resolve();
        await new Promise(() => {});
        yield { event: undefined };
      },
    });
    const caller = new AbortController();
    const all = allOf(follow(agent.client, watchMigration, finishRequest, caller.signal));
    await begun.promise;
    caller.abort(new Error('enough'));
    await expect(all).rejects.toThrow('enough');
    expect(await ended.promise).toMatchObject({ kind: 'cancelled' });
  });

  it('that fails says why after what it has sent', async () => {
    await using agent = await startTestAgent({
      watch: async function* () {
        yield { event: undefined };
        throw new JobError('unknown-migration', 'never heard of it');
      },
    });
    let seen = 0;
    const all = (async () => {
      for await (const _event of follow(agent.client, watchMigration, finishRequest, patient)) seen++;
    })();
    const error: unknown = await all.catch((e: unknown) => e);
    expect(failureFromWire(error)).toMatchObject({ reason: 'unknown-migration', message: 'never heard of it' });
    expect(seen).toBe(1);
  });
});

describe('TLS', () => {
  it('refuses who shows no certificate', async () => {
    await using agent = await startTestAgent();
    const anonymous = ChannelCredentials.createSsl(await readFile(agent.tls.ca));
    const client = new DestAgentClient(agent.server.address, anonymous);
    expect(await codeOf(invoke(client, prepare, prepareRequest, patient))).toBe(status.UNAVAILABLE);
    client.close();
  });

  it('refuses who speaks without it', async () => {
    await using agent = await startTestAgent();
    const client = dial(agent.server.address, await openCredentials(undefined));
    expect(await codeOf(invoke(client, prepare, prepareRequest, patient))).toBe(status.UNAVAILABLE);
    client.close();
  });

  it('refuses a certificate of another authority, whichever side has it', async () => {
    await using agent = await startTestAgent();
    const others = await makeCertificates(agent.dir, 'other');
    for (const files of [others, { ...others, ca: agent.tls.ca }, { ...agent.tls, ca: others.ca }]) {
      const client = dial(agent.server.address, await openCredentials(files));
      expect(await codeOf(invoke(client, prepare, prepareRequest, patient))).toBe(status.UNAVAILABLE);
      client.close();
    }
  });

  it('refuses a server by a name that its certificate does not have', async () => {
    await using agent = await startTestAgent();
    const client = dial(agent.server.address.replace('127.0.0.1', 'localhost'), agent.credentials);
    expect(await codeOf(invoke(client, prepare, prepareRequest, patient))).toBe(status.UNAVAILABLE);
    client.close();
  });

  it.each([
    { address: '::1', called: '[::1]' },
    { address: '::1', called: '[0:0:0:0:0:0:0:1]' },
    { address: '127.0.0.1', called: '127.0.0.1' },
  ])('accepts a certificate for $address from who calls $called', async ({ address, called }) => {
    await using agent = await startTestAgent({}, { host: address });
    const client = dial(`${called}:${agent.server.address.split(':').at(-1)}`, agent.credentials);
    expect(await codeOf(invoke(client, prepare, prepareRequest, patient))).toBe('no error');
    client.close();
  });

  it.each(['::1', '127.0.0.1'])('refuses a server at %s whose certificate names another address', async (address) => {
    await using agent = await startTestAgent({}, { host: address });
    const other = await makeCertificates(agent.dir, 'agent', ['fd00::1', '192.0.2.1']);
    const credentials = await openCredentials(other);
    const options: ServeOptions = { side: 'dest', listen: { host: address, port: 0 }, credentials };
    await using server = await serve(options, [], AbortSignal.timeout(20_000));
    const client = dial(server.address, credentials);
    expect(await codeOf(invoke(client, prepare, prepareRequest, patient))).toBe(status.UNAVAILABLE);
    client.close();
  });

  it('is only left out on loopback', async () => {
    const insecure = await openCredentials(undefined);
    expect(() => dial('192.0.2.1:7000', insecure)).toThrow('without TLS');
    expect(() => dial('unix:/tmp/x', insecure)).toThrow('HOST:PORT');
    expect(() => dial('127.0.0.1', insecure)).toThrow('HOST:PORT');
  });

  it('says which files it cannot use', async () => {
    await using agent = await startTestAgent();
    await expect(openCredentials({ ...agent.tls, key: '/there/is/no/such/file' })).rejects.toThrow('no such file');
    await expect(openCredentials({ ...agent.tls, key: agent.tls.cert })).rejects.toThrow(AgentError);
  });
});

describe('a server that ends', () => {
  it('lets calls in progress end, and tells streams to', async () => {
    const begun = Promise.withResolvers<void>();
    const go = Promise.withResolvers<PrepareResponse>();
    const watching = Promise.withResolvers<void>();
    await using agent = await startTestAgent({
      prepare: () => {
        begun.resolve();
        return go.promise;
      },
      watch: async function* () {
        watching.resolve();
        await new Promise(() => {});
        yield { event: undefined };
      },
    });
    const call = invoke(agent.client, prepare, prepareRequest, patient);
    const stream = allOf(follow(agent.client, watchMigration, finishRequest, patient));
    await Promise.all([begun.promise, watching.promise]);
    agent.draining.abort();
    const error: unknown = await stream.catch((e: unknown) => e);
    expect(failureFromWire(error)).toMatchObject({ reason: 'draining', retryable: true });
    go.resolve({ migrationUri: 'done', cookieOut: Buffer.alloc(0) });
    expect(await call).toMatchObject({ migrationUri: 'done' });
    await agent.server.ended;
    expect(await codeOf(invoke(agent.client, prepare, prepareRequest, patient))).toBe(status.UNAVAILABLE);
  });

  it('cuts off what does not end', async () => {
    const begun = Promise.withResolvers<void>();
    await using agent = await startTestAgent(
      {
        prepare: () => {
          begun.resolve();
          return new Promise(() => {});
        },
      },
      { drainMs: 50 },
    );
    const call = codeOf(invoke(agent.client, prepare, prepareRequest, patient));
    await begun.promise;
    agent.draining.abort();
    await agent.server.ended;
    expect([status.UNAVAILABLE, status.CANCELLED, status.INTERNAL]).toContain(await call);
  });

  it('cannot be had twice at one address', async () => {
    await using agent = await startTestAgent();
    const port = Number(agent.server.address.split(':')[1]);
    const again = serve(
      { side: 'dest', listen: { host: '127.0.0.1', port }, credentials: agent.credentials },
      [],
      patient,
    );
    await expect(again).rejects.toThrow(AgentError);
  });
});
