/** Clients that are not ours, against real agents and a real guest: buf curl (Go, by reflection alone) and Debian's python3-grpcio (C++). */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { AbortMigrationRequest, Phase, Protocol } from '@ferry/proto/ferry/v1/migration';
import { ListResponse } from '@ferry/proto/ferry/v1/domains';
import { BeginRequest, MigrateRequest, MigrateResponse, PerformRequest } from '@ferry/proto/ferry/v1/source_agent';
import { ErrorInfo } from '@ferry/proto/google/rpc/error_details';
import { callsOf, eventually, patience, type TestGuest, World } from './world.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '..');
const none = Buffer.alloc(0);

let world: World;
let guest: TestGuest;
beforeAll(async () => {
  world = await World.start();
  guest = await world.boot(world.a, { name: 'web-1' });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

describe('buf curl', () => {
  /** Knows nothing but the address and the certificates: no .proto files. */
  async function bufCurl(address: string, wish: { path?: string; args: string[]; certificate?: boolean }) {
    const { ca, cert, key } = world.lab.tls;
    const own = wish.certificate === false ? [] : ['--cert', cert, '--key', key];
    const args = ['curl', '--protocol', 'grpc', '--reflect', '--cacert', ca, ...own, ...wish.args];
    // Away from the checkout, where it would find them.
    const options = { cwd: world.lab.dir, timeout: 45_000 };
    const url = `https://${address}${wish.path ?? ''}`;
    return (await run(join(root, 'node_modules/.bin/buf'), [...args, url], options)).stdout;
  }
  const data = (request: object): string[] => ['-d', JSON.stringify(request)];

  it('lists services and methods', async () => {
    const services = (await bufCurl(world.a.sourceAddress, { args: ['--list-services'] })).trim().split('\n');
    expect(services).toEqual(expect.arrayContaining(['ferry.v1.Domains', 'ferry.v1.SourceAgent']));
    const methods = (await bufCurl(world.a.sourceAddress, { args: ['--list-methods'] })).trim().split('\n');
    expect(methods).toEqual(expect.arrayContaining(['ferry.v1.Domains/List', 'ferry.v1.SourceAgent/Migrate']));
    expect(await bufCurl(world.b.destAddress, { args: ['--list-services'] })).toContain('ferry.v1.DestAgent');
  });

  it('lists domains and migrates one, its events as they come', async () => {
    const list = await bufCurl(world.a.sourceAddress, { path: '/ferry.v1.Domains/List', args: data({}) });
    expect(JSON.parse(list)).toMatchObject({
      domains: [{ uuid: guest.uuid, name: 'web-1', state: 'DOMAIN_STATE_RUNNING', vcpus: 1 }],
    });

    const request = {
      migrationId: randomUUID(),
      domain: 'web-1',
      destination: world.b.destAddress,
      protocol: 'PROTOCOL_V3',
    };
    const path = '/ferry.v1.SourceAgent/Migrate';
    const output = await bufCurl(world.a.sourceAddress, { path, args: data(request) });
    const events = output.split(/^(?=\{)/m).map((text): unknown => JSON.parse(text));
    expect(events[0]).toMatchObject({ event: { phaseChanged: { phase: 'PHASE_BEGIN3', side: 'SIDE_SOURCE' } } });
    expect(events.at(-1)).toMatchObject({ event: { ended: { outcome: 'OUTCOME_COMPLETED' } } });
    await world.expectSettled(guest, world.b);
    await world.migrate(guest, {}, world.b, world.a);
  });

  it('is told why a call failed', async () => {
    const names = { migrationId: randomUUID(), domain: 'nobody' };
    const called = bufCurl(world.a.sourceAddress, { path: '/ferry.v1.SourceAgent/Begin', args: data(names) });
    const { stderr, code } = await called.then(
      () => ({ stderr: '', code: 0 }),
      (error: { stderr: string; code: number }) => error,
    );
    const told: { code: string; details: { type: string; value: string }[] } = JSON.parse(stderr);
    expect(told).toMatchObject({ code: 'not_found', details: [{ type: 'google.rpc.ErrorInfo' }] });
    expect(ErrorInfo.decode(Buffer.from(told.details[0]?.value ?? '', 'base64'))).toMatchObject({
      reason: 'domain-not-found',
      domain: 'ferry.v1',
      metadata: { side: 'source' },
    });
    // gRPC's code, shifted.
    expect(code).toBe(5 << 3);
  });

  it('without a certificate gets nothing', async () => {
    const called = bufCurl(world.a.sourceAddress, { args: ['--list-services'], certificate: false });
    await expect(called).rejects.toMatchObject({
      stderr: expect.stringMatching(/certificate|unavailable|EOF|reset|broken pipe/i),
    });
  });
});

interface Said {
  readonly answer?: string;
  readonly started?: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly info?: { readonly reason: string; readonly domain: string; readonly metadata: Record<string, string> };
}

/** A request's bytes, or so many zeros. */
type Wanted = Uint8Array | `zeros:${number}`;

/** One call by stranger.py. */
class Stranger implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(address: string, how: 'unary' | 'stream' | 'held', method: string, request: Wanted, more: string[] = []) {
    const { ca, cert, key } = world.lab.tls;
    const own = more.includes('without a certificate') ? [] : [key, cert];
    const timeout = more.filter((word) => /^[\d.]+$/.test(word));
    const call = [
      how,
      method,
      typeof request === 'string' ? request : Buffer.from(request).toString('hex'),
      ...timeout,
    ];
    const args = [join(import.meta.dirname, 'stranger.py'), address, ca, ...own, '--', ...call];
    this.#child = spawn('/usr/bin/python3', args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      signal: patience(),
      env: { ...process.env, GRPC_VERBOSITY: 'NONE' },
    });
    this.#child.once('error', () => undefined);
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  /** What it says next. */
  async next(): Promise<Said> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error('stranger.py has ended');
    return JSON.parse(value);
  }

  /** What it says last. */
  async end(): Promise<Said> {
    for (;;) {
      const said = await this.next();
      if (said.code !== undefined) return said;
    }
  }

  /** Has it cancel its call. */
  cancel(): void {
    this.#child.stdin.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
  }
}

describe('python3-grpcio', () => {
  beforeAll(async () => {
    await run('/usr/bin/python3', ['-c', 'import grpc']).catch((cause: unknown) => {
      throw new Error('this needs the Debian package python3-grpcio: apt-get install python3-grpcio', { cause });
    });
  });

  const unary = async (address: string, method: string, request: Wanted, ...more: string[]): Promise<Said[]> => {
    await using call = new Stranger(address, 'unary', method, request, more);
    const first = await call.next();
    return first.code === undefined ? [first, await call.end()] : [first];
  };
  const list = '/ferry.v1.Domains/List';
  // Less than the guest dirties: it does not come to its end by itself, however busy the machine is.
  const slow = { bandwidthBytesPerSecond: 200_000n, downtimeLimitMs: 1 };

  it('finds every service healthy', async () => {
    // HealthCheckRequest { service = 1 } and HealthCheckResponse { status = 1: SERVING = 1 }.
    const health = (address: string, service: string) =>
      unary(
        address,
        '/grpc.health.v1.Health/Check',
        Buffer.from(`\x0a${String.fromCharCode(service.length)}${service}`),
      );
    for (const service of ['', 'ferry.v1.SourceAgent', 'ferry.v1.Domains']) {
      expect(await health(world.a.sourceAddress, service)).toEqual([{ answer: '0801' }, { code: 'OK' }]);
    }
    expect(await health(world.a.destAddress, 'ferry.v1.DestAgent')).toEqual([{ answer: '0801' }, { code: 'OK' }]);
    expect(await health(world.a.destAddress, 'ferry.v1.Domains')).toMatchObject([{ code: 'NOT_FOUND' }]);
  });

  it('lists domains', async () => {
    const [said] = await unary(world.a.sourceAddress, list, none);
    const { domains } = ListResponse.decode(Buffer.from(said?.answer ?? '', 'hex'));
    expect(domains).toMatchObject([{ name: 'web-1', uuid: guest.uuid }]);
  });

  it('reads why a call failed from the details that gRPC knows', async () => {
    const migrationId = randomUUID();
    const begin = BeginRequest.encode({ migrationId, domain: 'nobody', options: undefined }).finish();
    expect(await unary(world.a.sourceAddress, '/ferry.v1.SourceAgent/Begin', begin)).toEqual([
      {
        code: 'NOT_FOUND',
        message: expect.stringContaining('nobody'),
        info: {
          reason: 'domain-not-found',
          domain: 'ferry.v1',
          metadata: { side: 'source', phase: 'begin3', retryable: 'false', migration_id: migrationId },
        },
      },
    ]);
  });

  it('hangs up, and its deadline passes, while a migration that it only watches goes on', async () => {
    const migrationId = randomUUID();
    const names = { migrationId, domain: 'web-1' };
    const way = { destination: world.b.destAddress, protocol: Protocol.PROTOCOL_V3, migrationUri: '', options: slow };
    const request = MigrateRequest.encode({ ...names, ...way }).finish();
    const migrate = '/ferry.v1.SourceAgent/Migrate';
    {
      await using watching = new Stranger(world.a.sourceAddress, 'stream', migrate, request);
      await eventually('memory flows', async () => isProgress(await watching.next()));
      watching.cancel();
      expect((await watching.end()).code).toBe('CANCELLED');
    }
    await using again = new Stranger(world.a.sourceAddress, 'stream', migrate, request, ['3']);
    expect(isProgress(await again.next())).toBe(false);
    expect(await again.end()).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect((await callsOf(world.a).get(names)).migration).toMatchObject({ active: true, phase: Phase.PHASE_PERFORM3 });
    const abort = AbortMigrationRequest.encode(names).finish();
    const [, { code } = { code: '' }] = await unary(
      world.a.sourceAddress,
      '/ferry.v1.SourceAgent/AbortMigration',
      abort,
    );
    expect(code).toBe('OK');
    await world.expectSettled(guest, world.a);
  });

  it('cancels a Perform that it drives itself, and both agents let go', async () => {
    const names = { migrationId: randomUUID(), domain: 'web-1' };
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const place = { protocol: Protocol.PROTOCOL_V3, domainXml: begun.domainXml, cookieIn: begun.cookieOut };
    const prepared = await callsOf(world.b).prepare({ ...names, ...place, migrationUri: '' });
    const way = { migrationUri: prepared.migrationUri, cookieIn: prepared.cookieOut, options: slow };
    const request = PerformRequest.encode({ ...names, protocol: Protocol.PROTOCOL_V3, ...way }).finish();

    await using perform = new Stranger(world.a.sourceAddress, 'held', '/ferry.v1.SourceAgent/Perform', request);
    await eventually('memory flows', async () => {
      const { migration } = await callsOf(world.a).get(names);
      return (migration?.statistics?.memoryTransferredBytes ?? 0n) > 0n;
    });
    perform.cancel();
    expect((await perform.end()).code).toBe('CANCELLED');
    await world.expectSettled(guest, world.a);
  });

  it('without a certificate is not let in', async () => {
    const said = await unary(world.a.sourceAddress, list, none, 'without a certificate', '5');
    expect(said).toMatchObject([{ code: expect.stringMatching(/UNAVAILABLE|DEADLINE_EXCEEDED/) }]);
  });

  it('that sends more than a message may have is refused', async () => {
    const [said] = await unary(world.b.destAddress, '/ferry.v1.DestAgent/Prepare', 'zeros:9000000');
    expect(said).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(await unary(world.a.sourceAddress, list, none)).toHaveLength(2);
  });
});

/** Whether a line of Migrate tells how far memory has come. */
function isProgress({ answer = '' }: Said): boolean {
  return MigrateResponse.decode(Buffer.from(answer, 'hex')).event?.event?.$case === 'progress';
}
