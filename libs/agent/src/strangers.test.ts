/** Clients that are not ours: buf curl (Go) and Debian's python3-grpcio (C++). */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { HypervisorError } from '@ferry/hypervisor';
import { DestAgentService, DestPeerService } from '@ferry/proto/ferry/v1/dest_agent';
import { migrationId, startTestAgent, type TestAgent } from './testing/agent.ts';

const run = promisify(execFile);
const root = new URL('../../../', import.meta.url).pathname;

/** `buf curl` against the agent by reflection alone; what it prints, or throws with its standard error. */
async function bufCurl(agent: TestAgent, ...args: string[]): Promise<string> {
  const { tls } = agent;
  const { stdout } = await run(
    `${root}node_modules/.bin/buf`,
    [
      'curl',
      '--http2-prior-knowledge',
      '--protocol',
      'grpc',
      '--cacert',
      tls.ca,
      '--cert',
      tls.cert,
      '--key',
      tls.key,
    ].concat(args),
    { cwd: agent.dir, timeout: 30_000 },
  );
  return stdout;
}

describe('buf curl', () => {
  it.each(['grpc-v1', 'grpc-v1alpha'])('lists methods and calls them by reflection %s', async (protocol) => {
    await using agent = await startTestAgent({
      prepare: async (request) => ({ migrationUri: `tcp:${request.domainXml}`, cookieOut: Buffer.from('hi') }),
      watch: async function* () {
        for (const qemuStatus of ['setup', 'active']) {
          yield {
            event: { at: new Date(0), event: { $case: 'progress', value: { qemuStatus, statistics: undefined } } },
          };
        }
      },
    });
    const url = `https://${agent.server.address}`;
    const reflect = ['--reflect', '--reflect-protocol', protocol];
    const methods = await bufCurl(agent, ...reflect, '--list-methods', url);
    expect(methods.trim().split('\n').toSorted()).toEqual(
      Object.values({ ...DestAgentService, ...DestPeerService })
        .map(({ path }) => path.slice(1))
        .toSorted(),
    );
    const request = JSON.stringify({ migration_id: migrationId, domain_xml: 'x' });
    const answer = await bufCurl(agent, ...reflect, '-d', request, `${url}/ferry.v1.DestAgent/Prepare`);
    expect(JSON.parse(answer)).toEqual({ migrationUri: 'tcp:x', cookieOut: 'aGk=' });
    const watch = JSON.stringify({ migration_id: migrationId, domain: 'web-1' });
    const events = await bufCurl(agent, ...reflect, '-d', watch, `${url}/ferry.v1.DestAgent/WatchMigration`);
    expect(events).toMatch(/setup[^]*active/);
  });

  it('shows why a call failed', async () => {
    await using agent = await startTestAgent({
      prepare: async () => {
        throw new HypervisorError('disk-missing', 'no /images/a.qcow2 on host b');
      },
    });
    const request = JSON.stringify({ migration_id: migrationId });
    const call = bufCurl(
      agent,
      '--reflect',
      '-d',
      request,
      `https://${agent.server.address}/ferry.v1.DestAgent/Prepare`,
    );
    const { stderr }: { stderr?: unknown } = await call.then(
      () => ({}),
      (error: object) => error,
    );
    expect(stderr).toContain('failed_precondition');
    expect(stderr).toContain('no /images/a.qcow2 on host b');
    expect(stderr).toContain('google.rpc.ErrorInfo');
  });
});

const python = '/usr/bin/python3';
const hasPython = spawnSync(python, ['-c', 'import grpc']).status === 0;
if (!hasPython) console.warn('python3-grpcio is not installed: apt-get install python3-grpcio to run these tests too');

/** Runs Python with `channel` open to the agent; what it prints, as JSON. */
async function pythonGrpc(agent: TestAgent, script: string): Promise<unknown> {
  const { tls } = agent;
  const program = `
import grpc, json, sys
def read(name): return open(name, 'rb').read()
address, ca, key, cert = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
asis = dict(request_serializer=lambda b: b, response_deserializer=lambda b: b)
with grpc.secure_channel(address, credentials) as channel:
${script.replaceAll(/^/gm, '    ')}
`;
  const { stdout } = await run(python, ['-c', program, agent.server.address, tls.ca, tls.key, tls.cert], {
    timeout: 30_000,
  });
  return JSON.parse(stdout);
}

(hasPython ? describe : describe.skip)('python3-grpcio', () => {
  it('checks health, of the server and of each service', async () => {
    await using agent = await startTestAgent();
    const check = `
check = channel.unary_unary('/grpc.health.v1.Health/Check', **asis)
def health(name):
    try: return check(b'\\x0a' + bytes([len(name)]) + name.encode(), timeout=10).hex()
    except grpc.RpcError as error: return error.code().name
print(json.dumps([health(name) for name in ['', 'ferry.v1.DestAgent', 'ferry.v1.Nothing']]))`;
    expect(await pythonGrpc(agent, check)).toEqual(['0801', '0801', 'NOT_FOUND']);
    agent.server.setServing(false);
    expect(await pythonGrpc(agent, check)).toEqual(['0802', '0802', 'NOT_FOUND']);
  });

  it('reads error details with nothing but what it has: also after a very long message', async () => {
    const message = 'the disk /images/ä.qcow2 is not there; '.repeat(1_000);
    await using agent = await startTestAgent({
      prepare: async () => {
        throw new HypervisorError('disk-missing', message);
      },
    });
    const answer = await pythonGrpc(
      agent,
      `
prepare = channel.unary_unary('/ferry.v1.DestAgent/Prepare', **asis)
try: prepare(b'\\x0a\\x24' + b'${migrationId}', timeout=10)
except grpc.RpcError as error:
    trailers = {key: value.hex() if isinstance(value, bytes) else value for key, value in error.trailing_metadata()}
    print(json.dumps([error.code().name, error.details(), trailers['grpc-status-details-bin']]))`,
    );
    if (!Array.isArray(answer)) throw new Error('not a list');
    const [code, details, trailer]: unknown[] = answer;
    expect(code).toBe('FAILED_PRECONDITION');
    expect(details).toMatch(/^the disk \/images\/ä\.qcow2 is not there; .* …$/);
    const bytes = Buffer.from(String(trailer), 'hex').toString();
    for (const word of ['type.googleapis.com/google.rpc.ErrorInfo', 'disk-missing', 'ferry.v1', 'prepare']) {
      expect(bytes).toContain(word);
    }
  });

  it('is told that its deadline passed', async () => {
    await using agent = await startTestAgent({ prepare: () => new Promise(() => {}) }, { drainMs: 50 });
    const answer = await pythonGrpc(
      agent,
      `
try: channel.unary_unary('/ferry.v1.DestAgent/Prepare', **asis)(b'\\x0a\\x24' + b'${migrationId}', timeout=0.2)
except grpc.RpcError as error: print(json.dumps(error.code().name))`,
    );
    expect(answer).toBe('DEADLINE_EXCEEDED');
  });
});
