/**
 * `check-config`: whether an agent could serve with its environment, everything at once and in words. An agent itself ends at the first thing that is
 * wrong, which is the second after a boot and the third after a certificate was renewed.
 */
import { execFile } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { createServer, isIP } from 'node:net';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Side } from '@ferry/migration';
import { lackingSettings, openRedis, parseRedisUrl } from '@ferry/redis/connect';
import { type HostPort, parseHostPort } from '@ferry/rpc';
import { Callers } from './callers.ts';
import { type Config, readConfig } from './config.ts';
import { AgentError } from './errors.ts';
import { openLog } from './log.ts';
import { agentRuns } from './one-daemon.ts';
import { readRoles } from './role-grants.ts';
import { tryStateDir } from './state-dir.ts';

/** `wrong`: the agent does not serve, or others cannot use it. `doubtful`: it serves, and something is not as it should be. */
export interface Finding {
  readonly is: 'fine' | 'doubtful' | 'wrong';
  readonly what: string;
  readonly says: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const fine = (what: string, says: string): Finding => ({ is: 'fine', what, says });
const doubtful = (what: string, says: string): Finding => ({ is: 'doubtful', what, says });
const wrong = (what: string, says: string): Finding => ({ is: 'wrong', what, says });
const messageOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);

/** Everything that can be said; what depends on a variable that is wrong is left to the finding about that variable. */
export async function checkConfig(side: Side, env: Environment): Promise<readonly Finding[]> {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const { config, findings } = environment(given);
  const stateDir = given['FERRY_STATE_DIR'] ?? '/var/lib/ferry';
  const all = await Promise.all([
    stateDirectory(stateDir),
    qemu(given['FERRY_QEMU'] ?? 'qemu-system-x86_64'),
    redis(given['FERRY_REDIS_URL']),
    ports(side, given, stateDir, config),
  ]);
  return [...findings, ...certificates(given, config), ...all.flat()];
}

function environment(env: Environment): { config: Config | undefined; findings: Finding[] } {
  try {
    return { config: readConfig(env), findings: [fine('environment', 'every variable can be used')] };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const lines = error.message.split('\n').slice(1);
    return { config: undefined, findings: lines.map((line) => wrong('environment', line)) };
  }
}

const dayMs = 86_400_000;
/** Time to renew it, by people. */
const renewMs = 14 * dayMs;
const pem = /-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/g;
const usages = { '1.3.6.1.5.5.7.3.1': 'serverAuth', '1.3.6.1.5.5.7.3.2': 'clientAuth' } as const;

function certificates(env: Environment, config: Config | undefined): Finding[] {
  const { FERRY_TLS_CERT: certFile, FERRY_TLS_KEY: keyFile, FERRY_TLS_CA: caFile } = env;
  if (env['FERRY_INSECURE_LOOPBACK'] === '1')
    return [doubtful('certificates', 'there are none (FERRY_INSECURE_LOOPBACK=1): only this host reaches the agent')];
  if (certFile === undefined || keyFile === undefined || caFile === undefined) return [];
  let chain: X509Certificate[];
  let authorities: X509Certificate[];
  let keyFits: boolean;
  try {
    const read = (file: string): X509Certificate[] =>
      (readFileSync(file, 'utf8').match(pem) ?? []).map((text) => new X509Certificate(text));
    [chain, authorities] = [read(certFile), read(caFile)];
    const [leaf] = chain;
    if (leaf === undefined) return [wrong('certificates', `${certFile} has no certificate in PEM`)];
    if (authorities.length === 0) return [wrong('certificates', `${caFile} has no certificate in PEM`)];
    keyFits = leaf.checkPrivateKey(createPrivateKey(readFileSync(keyFile)));
  } catch (error) {
    return [wrong('certificates', `they cannot be read: ${messageOf(error)}`)];
  }
  const leaf = chain[0] as X509Certificate;
  const found: Finding[] = [];
  if (!keyFits) found.push(wrong('certificates', `${keyFile} is not the key of ${certFile}: they were issued apart`));
  for (const [file, each] of [
    [certFile, chain],
    [caFile, authorities],
  ] as const)
    for (const certificate of each) found.push(...validity(file, certificate));
  const issuers = [...chain.slice(1), ...authorities];
  const signed = issuers.some((issuer) => leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey));
  if (!signed)
    found.push(
      wrong('certificates', `${certFile} was not issued by an authority in ${caFile}: no other agent trusts it`),
    );
  for (const [oid, usage] of Object.entries(usages))
    if (leaf.keyUsage !== undefined && !leaf.keyUsage.includes(oid))
      found.push(
        wrong(
          'certificates',
          `${certFile} lacks the extended key usage ${usage}: agents are servers and clients of each other`,
        ),
      );
  found.push(...names(certFile, leaf, env, config));
  if (found.every(({ is }) => is !== 'wrong'))
    found.unshift(fine('certificates', `${certFile} is good until ${leaf.validToDate.toISOString().slice(0, 10)}`));
  return found;
}

function validity(file: string, { validFromDate, validToDate, subject }: X509Certificate): Finding[] {
  const of = `${subject.replaceAll('\n', ', ')} in ${file}`;
  const leftMs = validToDate.getTime() - Date.now();
  if (leftMs < 0) return [wrong('certificates', `${of} has expired on ${validToDate.toISOString()}: issue another`)];
  if (validFromDate.getTime() > Date.now())
    return [wrong('certificates', `${of} is good from ${validFromDate.toISOString()} on only: is the clock right?`)];
  return leftMs > renewMs
    ? []
    : [doubtful('certificates', `${of} expires in ${Math.floor(leftMs / dayMs)} days: renew it`)];
}

/** What others call must be in it, and which host it speaks for. */
function names(file: string, leaf: X509Certificate, env: Environment, config: Config | undefined): Finding[] {
  const found: Finding[] = [];
  const address = config === undefined ? undefined : parseHostPort(config.address)?.host;
  if (address !== undefined) {
    const has = isIP(address) === 0 ? leaf.checkHost(address) : leaf.checkIP(address);
    if (has === undefined)
      found.push(
        wrong(
          'certificates',
          `${file} is for ${leaf.subjectAltName ?? 'no name'}, and others call ${address}: add it as a subject alternative name, or set FERRY_ADDRESS`,
        ),
      );
  }
  let grants: Config['grants'];
  try {
    grants = config?.grants ?? (env['FERRY_ROLES'] === undefined ? [] : readRoles(env['FERRY_ROLES']));
  } catch {
    return found;
  }
  const host = config?.host.name ?? env['FERRY_HOST'] ?? hostname();
  const caller = new Callers(grants).opened('', leaf);
  if (!caller.roles.has('agent') || caller.host !== host)
    found.push(
      wrong(
        'certificates',
        `${file} does not say that it is the agent of ${host}${caller.host === undefined ? '' : ` but of ${caller.host}`}: give it the subject alternative name URI:spiffe://SITE/ferry/agent/${host}`,
      ),
    );
  return found;
}

/** By statfs(2): what is on another machine, or gone after a boot. */
const fileSystems: Readonly<Record<number, string>> = {
  0x6969: 'NFS',
  0xff534d42: 'CIFS',
  0xfe534d42: 'SMB',
  0x01021997: '9p',
  0x00c36400: 'CephFS',
  0x01021994: 'tmpfs',
};
/** sun_path, without its last byte (unix(7)). */
const socketBytesMax = 107;

async function stateDirectory(dir: string): Promise<Finding[]> {
  const what = 'state directory';
  const socket = join(dir, 'domains', '00000000-0000-0000-0000-000000000000', 'source.sock');
  const found: Finding[] = [];
  if (Buffer.byteLength(socket) > socketBytesMax)
    found.push(
      wrong(
        what,
        `${dir} is too long: the path of a socket in it has ${Buffer.byteLength(socket)} bytes, at most ${socketBytesMax} work`,
      ),
    );
  const isThere = existsSync(dir);
  try {
    if (isThere) await tryStateDir(dir);
    const type = fileSystems[statfsSync(isThere ? dir : dirname(dir)).type];
    if (type === 'tmpfs')
      found.push(doubtful(what, `${dir} is in memory (tmpfs): journals must survive a crash of the host`));
    else if (type !== undefined) found.push(wrong(what, `${dir} is on ${type}: journals need a local disk`));
  } catch (error) {
    found.push(wrong(what, messageOf(error)));
  }
  if (found.some(({ is }) => is === 'wrong')) return found;
  return [
    fine(what, isThere ? `${dir} can be written durably` : `${dir} is not there yet: the agent makes it`),
    ...found,
  ];
}

const qemuMin = [7, 2] as const;

async function qemu(program: string): Promise<Finding[]> {
  const run = promisify(execFile);
  try {
    const { stdout } = await run(program, ['--version'], { timeout: 10_000 });
    const [, version = '', major = '', minor = ''] = /version ((\d+)\.(\d+)\S*)/.exec(stdout) ?? [];
    const isOld = Number(major) < qemuMin[0] || (Number(major) === qemuMin[0] && Number(minor) < qemuMin[1]);
    if (version === '' || isOld)
      return [
        wrong('QEMU', `${program} is ${version === '' ? 'no QEMU' : version}: ${qemuMin.join('.')} or newer is needed`),
      ];
    const found = [fine('QEMU', `${program} is ${version}`)];
    if (!existsSync('/dev/kvm'))
      found.push(doubtful('QEMU', "there is no /dev/kvm: guests of <domain type='kvm'> do not start here"));
    return found;
  } catch (error) {
    return [
      wrong(
        'QEMU',
        `${program} cannot be run (${messageOf(error).split('\n')[0]}): install qemu-system-x86, or set FERRY_QEMU`,
      ),
    ];
  }
}

/** A first connection over TLS to a Redis that is far. */
const redisMs = 5_000;
const redisMajorMin = 7;

async function redis(url: string | undefined): Promise<Finding[]> {
  const what = 'Redis';
  let place: ReturnType<typeof parseRedisUrl>;
  try {
    if (url === undefined) return [];
    place = parseRedisUrl(url);
  } catch {
    return [];
  }
  const client = openRedis(place, openLog('silent'));
  let lastError: unknown;
  client.on('error', (error) => (lastError = error));
  try {
    const until = performance.now() + redisMs;
    while (client.status !== 'ready' && performance.now() < until) await delay(20);
    if (client.status !== 'ready')
      return [
        wrong(
          what,
          `it does not answer${lastError === undefined ? '' : ` (${messageOf(lastError)})`}: is FERRY_REDIS_URL right, and does it run?`,
        ),
      ];
    await client.ping();
    const version = /^redis_version:(\S+)/m.exec(await client.info('server'))?.[1] ?? 'of no known version';
    const found: Finding[] = [];
    if (Number(version.split('.')[0]) < redisMajorMin)
      found.push(wrong(what, `it is ${version}: ${redisMajorMin}.0 or newer is needed`));
    const { lacking, refused } = await lackingSettings(client);
    for (const { setting, is, set } of lacking) found.push(doubtful(what, `${setting} is ${is}: set ${set}`));
    if (refused !== undefined)
      found.push(
        doubtful(what, `its settings cannot be read (${refused}): see that they are as docs/operations.md has them`),
      );
    return [fine(what, `it answers, version ${version}`), ...found];
  } catch (error) {
    return [wrong(what, `it refuses: ${messageOf(error)}`)];
  } finally {
    client.disconnect();
  }
}

async function ports(side: Side, env: Environment, stateDir: string, config: Config | undefined): Promise<Finding[]> {
  const what = 'ports';
  const found: Finding[] = [];
  const runs = existsSync(stateDir) && (await agentRuns(side, stateDir));
  const listen = parseHostPort(env['FERRY_LISTEN'] ?? '');
  if (runs) found.push(fine(what, `the ${side} agent of ${stateDir} runs, and has its own`));
  else if (listen !== undefined) {
    const problem = await listenProblem(listen);
    found.push(
      problem === undefined
        ? fine(what, `${env['FERRY_LISTEN']} is free`)
        : wrong(what, `FERRY_LISTEN ${env['FERRY_LISTEN']}: ${problem}`),
    );
  }
  if (side === 'dest' && config !== undefined) {
    const { address, ports: range } = config.migration;
    const problem = await listenProblem({ host: address, port: 0 });
    if (problem !== undefined) found.push(wrong(what, `FERRY_MIGRATION_ADDRESS ${address}: ${problem}`));
    else
      found.push(
        fine(what, `guests arrive at ${address}, ports ${range.first} to ${range.last}: open them in the firewall`),
      );
  }
  return found;
}

async function listenProblem(at: HostPort): Promise<string | undefined> {
  const server = createServer();
  try {
    await once(server.listen(at), 'listening');
    return undefined;
  } catch (error) {
    const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
    if (code === 'EADDRINUSE') return 'another program listens there: end it, or choose another port';
    if (code === 'EADDRNOTAVAIL') return 'this host does not have the address (yet)';
    return messageOf(error);
  } finally {
    server.close();
  }
}
