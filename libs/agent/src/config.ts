import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { type AddedArguments, readArgumentRules } from '@ferry/domain-xml';
import { exposures, type QemuUser } from '@ferry/hypervisor';
import type { MigrationEndpoints } from '@ferry/migration';
import { isReadableOnTheWay, parseRedisUrl, type RedisPlace, RedisUrlError } from '@ferry/redis/connect';
import { formatHostPort, type HostPort, isLoopback, parseHostPort } from '@ferry/rpc';
import { z } from 'zod';
import type { RoleGrant } from './callers.ts';
import { AgentError } from './errors.ts';
import { NetworksError, parseNetworks } from './networks.ts';
import { domainPathProblems, protectedPaths } from './protected-paths.ts';
import { findUser } from './find-user.ts';
import { readRoles } from './role-grants.ts';

/** The files that prove who we are, and the authority that says who others are. PEM. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** What an agent is told by its environment. docs/operations.md lists the variables. */
export interface Config {
  /** This host: the name people use, and a UUID that no other host has. */
  readonly host: { readonly name: string; readonly uuid: string };
  readonly listen: HostPort;
  /** HOST:PORT at which the other hosts' agents reach this one. */
  readonly address: string;
  readonly stateDir: string;
  readonly redis: RedisPlace;
  /** undefined: no TLS, only on loopback. */
  readonly tls: TlsFiles | undefined;
  /** No guest leaves or comes whose memory is not encrypted on its way. */
  readonly requireTls: boolean;
  /** The directory of QEMU's certificates, for migrations that ask for them. */
  readonly memoryTlsDir: string | undefined;
  /** Where memory may flow. */
  readonly migration: MigrationEndpoints;
  readonly qemu: string;
  /** Whom QEMU and swtpm run as, if not as the agent's own user. */
  readonly qemuUser: QemuUser | undefined;
  readonly leaseMs: number;
  /** A migration that no phase of comes for so long is settled by the agents. */
  readonly idleMs: number;
  /** A guest that was sent, and of which no Finish or Confirm has come for so long, is decided about by the source. */
  readonly finishMs: number;
  /** How long the stream, or the destination, may stand still while a guest that has not been decided about is stopped. */
  readonly stallMs: number;
  /** How long a migration may wait, memory flowing, for what its switchover needs. */
  readonly holdMs: number;
  /** The directories that a domain's files may be in. */
  readonly domainPaths: readonly string[];
  /** The agent's own directories and files, which no document reaches, by real paths. */
  readonly protectedPaths: readonly string[];
  /** Directories that all hosts see, whatever their file system says. */
  readonly sharedPaths: readonly string[];
  /** The bridges of this host that domains may name as networks; none if not given. */
  readonly networks: ReadonlyMap<string, string>;
  /** Which arguments for QEMU documents may add. */
  readonly addedArguments: AddedArguments;
  /** What documents may do on this host that opens it. */
  readonly allowed: ReadonlySet<string>;
  readonly memoryReserveBytes: number;
  /** What certificates may do besides what they say themselves, by name. */
  readonly grants: readonly RoleGrant[];
  /** Where the audit trail is appended to; undefined: standard error. */
  readonly auditLog: string | undefined;
  /** What a file may take on the disk that a guest makes its QEMU write. */
  readonly guestLogBytesMax: number;
  readonly logLevel: (typeof logLevels)[number];
  readonly metricsListen: HostPort | undefined;
}

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

const hostPort = z.string().transform((text, context) => {
  const parsed = parseHostPort(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: 'must be HOST:PORT or [IPV6]:PORT' });
  return z.NEVER;
});
const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `must be at least ${min}`).max(max, `must be at most ${max}`));
const path = z.string().refine((text) => isAbsolute(text), 'must be an absolute path');
const file = path.refine(isReadable, 'names a file that cannot be read');
const keyFile = file.refine(isPrivate, 'may be read by its group or others: chmod 600');
const directories = z
  .string()
  .transform((text) => text.split(':'))
  .refine((roots) => roots.every((root) => isAbsolute(root)), 'must be absolute directories, separated by colons');
const noControls = /^[^\p{Cc}]+$/u;

const portRange = z
  .string()
  .regex(/^\d{1,5}-\d{1,5}$/, 'must be FIRST-LAST')
  .transform((text) => {
    const [first = 0, last = 0] = text.split('-').map(Number);
    return { first, last };
  })
  .refine(
    ({ first, last }) => first > 0 && first <= last && last <= 65_535,
    'must be within 1-65535, the first not above the last',
  );

const redisUrl = z.string().transform((text, context) => {
  try {
    return parseRedisUrl(text);
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error;
    context.addIssue({ code: 'custom', message: error.message });
    return z.NEVER;
  }
});

const networks = z.string().transform((text, context) => {
  try {
    return parseNetworks(text);
  } catch (error) {
    if (!(error instanceof NetworksError)) throw error;
    context.addIssue({ code: 'custom', message: error.message });
    return z.NEVER;
  }
});

const user = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/, 'must be the name of a user')
  .transform((name, context) => {
    try {
      return findUser(name);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });

/** What a file of names and roles says. */
function grantsIn(name: string, context: z.RefinementCtx): readonly RoleGrant[] {
  try {
    return readRoles(name);
  } catch (error) {
    context.addIssue({ code: 'custom', message: `${name}: ${error instanceof Error ? error.message : String(error)}` });
    return z.NEVER;
  }
}

/** A word, or the file that lists them. */
function addedArgumentsOf(setting: string, context: z.RefinementCtx): AddedArguments {
  if (setting === 'allow' || setting === 'refuse') return setting;
  const refuse = (message: string): never => {
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  };
  if (!isAbsolute(setting)) return refuse('must be allow, refuse or a file');
  try {
    return readArgumentRules(readFileSync(setting, 'utf8'));
  } catch (error) {
    return refuse(`${setting}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

const variables = z.object({
  FERRY_HOST: z.string().regex(/^[A-Za-z0-9._-]{1,253}$/, 'must be a host name'),
  FERRY_HOST_UUID: z.guid('must be a UUID').transform((text) => text.toLowerCase()),
  FERRY_LISTEN: hostPort,
  FERRY_ADDRESS: hostPort.optional(),
  FERRY_STATE_DIR: path.default('/var/lib/ferry'),
  FERRY_REDIS_URL: redisUrl,
  FERRY_REDIS_PLAINTEXT: z.enum(['allow', 'refuse'], 'must be allow or refuse').default('refuse'),
  FERRY_TLS_CERT: file.optional(),
  FERRY_TLS_KEY: keyFile.optional(),
  FERRY_TLS_CA: file.optional(),
  FERRY_INSECURE_LOOPBACK: z.enum(['0', '1'], 'must be 0 or 1').default('0'),
  FERRY_REQUIRE_TLS: z.enum(['0', '1'], 'must be 0 or 1').default('0'),
  FERRY_MEMORY_TLS_DIR: path.refine(isReadable, 'names a directory that cannot be read').optional(),
  FERRY_MIGRATION_ADDRESS: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,253}$/, 'must be an address or a host name')
    .optional(),
  FERRY_MIGRATION_SOCKETS: path.optional(),
  FERRY_MIGRATION_PORTS: portRange.default({ first: 49_152, last: 49_215 }),
  FERRY_QEMU: z.string().regex(noControls, 'must be a program').default('qemu-system-x86_64'),
  FERRY_QEMU_USER: user.optional(),
  FERRY_LEASE_MS: integer(1_000, 600_000).default(10_000),
  FERRY_IDLE_MS: integer(1_000, 86_400_000).default(30_000),
  FERRY_FINISH_MS: integer(500, 86_400_000).default(2_000),
  FERRY_STALL_MS: integer(100, 86_400_000).default(1_000),
  FERRY_HOLD_MS: integer(1_000, 86_400_000).default(300_000),
  FERRY_DOMAIN_PATHS: directories.default(['/var/lib/libvirt/images']),
  FERRY_SHARED_PATHS: directories.default([]),
  FERRY_NETWORKS: networks.default(new Map()),
  FERRY_QEMU_COMMANDLINE: z.string().transform(addedArgumentsOf).default('refuse'),
  FERRY_MEMORY_RESERVE_MIB: integer(0, 2 ** 30).default(0),
  FERRY_SERIAL_LOG_MIB: integer(1, 2 ** 20).default(64),
  FERRY_ALLOW: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(exposures, `must be of ${exposures.join(', ')}, separated by commas`)))
    .default([]),
  FERRY_ROLES: file.transform(grantsIn).optional(),
  FERRY_AUDIT_LOG: path.optional(),
  FERRY_LOG_LEVEL: z.enum(logLevels, `must be one of ${logLevels.join(', ')}`).default('info'),
  FERRY_METRICS_LISTEN: hostPort.optional(),
});

type Variables = z.output<typeof variables>;

/**
 * Reads an agent's environment, once, at start. A variable that is set to nothing counts as not set.
 * Throws AgentError config-invalid that names every bad variable, one a line.
 */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const parsed = variables.safeParse({ FERRY_HOST: hostname(), FERRY_HOST_UUID: machineUuid(), ...given });
  const problems = parsed.success
    ? problemsBetween(parsed.data)
    : // What one variable says about another is looked at too, as far as each is right by itself.
      [...parsed.error.issues.map(issueText), ...missingTls(given)];
  if (!parsed.success || problems.length > 0) throw invalid([...new Set(problems)]);
  return configOf(parsed.data);
}

function configOf(v: Variables): Config {
  const { FERRY_TLS_CERT: cert, FERRY_TLS_KEY: key, FERRY_TLS_CA: ca } = v;
  return {
    host: { name: v.FERRY_HOST, uuid: v.FERRY_HOST_UUID },
    listen: v.FERRY_LISTEN,
    address: formatHostPort(v.FERRY_ADDRESS ?? reachable(v)),
    stateDir: v.FERRY_STATE_DIR,
    redis: v.FERRY_REDIS_URL,
    tls: cert !== undefined && key !== undefined && ca !== undefined ? { cert, key, ca } : undefined,
    requireTls: v.FERRY_REQUIRE_TLS === '1',
    memoryTlsDir: v.FERRY_MEMORY_TLS_DIR,
    migration: {
      address: v.FERRY_MIGRATION_ADDRESS ?? v.FERRY_LISTEN.host,
      ports: v.FERRY_MIGRATION_PORTS,
      sockets: socketsOf(v),
    },
    qemu: v.FERRY_QEMU,
    qemuUser: v.FERRY_QEMU_USER,
    leaseMs: v.FERRY_LEASE_MS,
    idleMs: v.FERRY_IDLE_MS,
    finishMs: v.FERRY_FINISH_MS,
    stallMs: v.FERRY_STALL_MS,
    holdMs: v.FERRY_HOLD_MS,
    domainPaths: v.FERRY_DOMAIN_PATHS,
    protectedPaths: ownPaths(v),
    sharedPaths: v.FERRY_SHARED_PATHS,
    networks: v.FERRY_NETWORKS,
    addedArguments: v.FERRY_QEMU_COMMANDLINE,
    grants: v.FERRY_ROLES ?? [],
    auditLog: v.FERRY_AUDIT_LOG,
    allowed: new Set(v.FERRY_ALLOW),
    memoryReserveBytes: v.FERRY_MEMORY_RESERVE_MIB * 2 ** 20,
    guestLogBytesMax: v.FERRY_SERIAL_LOG_MIB * 2 ** 20,
    logLevel: v.FERRY_LOG_LEVEL,
    metricsListen: v.FERRY_METRICS_LISTEN,
  };
}

const socketsOf = (v: Variables): string => resolve(v.FERRY_MIGRATION_SOCKETS ?? join(v.FERRY_STATE_DIR, 'sockets'));

/** A file in the directory: what is protected is the directory that a file is in. */
const memoryTlsFiles = ({ FERRY_MEMORY_TLS_DIR: dir }: Variables): string[] =>
  dir === undefined ? [] : [join(dir, 'server-key.pem')];

const ownPaths = (v: Variables): readonly string[] =>
  protectedPaths({
    stateDir: v.FERRY_STATE_DIR,
    sockets: socketsOf(v),
    tls: [v.FERRY_TLS_CERT, v.FERRY_TLS_KEY, v.FERRY_TLS_CA, ...memoryTlsFiles(v)].filter((name) => name !== undefined),
    redisSocket: v.FERRY_REDIS_URL.kind === 'socket' ? v.FERRY_REDIS_URL.path : undefined,
  });

/** By default others reach the agent where it listens; one that listens everywhere, by the host's name. */
const reachable = ({ FERRY_LISTEN: listen, FERRY_HOST: host }: Variables): HostPort =>
  ['0.0.0.0', '::'].includes(listen.host) ? { host, port: listen.port } : listen;

/** What is wrong although each variable is right by itself. */
function problemsBetween(v: Variables): string[] {
  const problems = [...missingTls(v), ...domainPathProblems(v.FERRY_DOMAIN_PATHS, ownPaths(v))];
  if (v.FERRY_REDIS_PLAINTEXT === 'refuse' && isReadableOnTheWay(v.FERRY_REDIS_URL)) {
    problems.push(
      'FERRY_REDIS_URL: without TLS to another machine, whoever is between can read domain XML and decide where guests run; use rediss://, or set FERRY_REDIS_PLAINTEXT=allow',
    );
  }
  if (v.FERRY_INSECURE_LOOPBACK === '1' && !isLoopback(v.FERRY_LISTEN.host)) {
    problems.push('FERRY_INSECURE_LOOPBACK: is for a loopback address in FERRY_LISTEN only; set up TLS for others');
  }
  if (v.FERRY_MIGRATION_ADDRESS === undefined && ['0.0.0.0', '::'].includes(v.FERRY_LISTEN.host)) {
    problems.push(
      'FERRY_MIGRATION_ADDRESS: must be set, since FERRY_LISTEN names no address that others could send to',
    );
  }
  return problems;
}

const tlsNames = ['FERRY_TLS_CERT', 'FERRY_TLS_KEY', 'FERRY_TLS_CA'] as const;

function missingTls(values: Readonly<Record<string, unknown>>): string[] {
  const missing = tlsNames.filter((name) => values[name] === undefined);
  if (values['FERRY_INSECURE_LOOPBACK'] !== '1') {
    return missing.map(
      (name) => `${name}: must be set (without TLS: FERRY_INSECURE_LOOPBACK=1 and a loopback FERRY_LISTEN)`,
    );
  }
  return missing.length === tlsNames.length
    ? []
    : ['FERRY_INSECURE_LOOPBACK: contradicts FERRY_TLS_CERT, FERRY_TLS_KEY and FERRY_TLS_CA; unset it or them'];
}

const issueText = (issue: z.core.$ZodIssue): string => {
  const missing = issue.code === 'invalid_type' && issue.input === undefined;
  return `${issue.path.map(String).join('.')}: ${missing ? 'must be set' : issue.message}`;
};

const invalid = (problems: readonly string[]): AgentError =>
  new AgentError('config-invalid', `the environment cannot be used:\n${problems.join('\n')}`);

function isReadable(name: string): boolean {
  try {
    accessSync(name, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether the file's owner alone may read it; one that is not there is told otherwise. */
function isPrivate(name: string): boolean {
  const found = statSync(name, { throwIfNoEntry: false });
  return found === undefined || (found.mode & 0o077) === 0;
}

/** This machine's own id as a UUID, or undefined where it has none (then FERRY_HOST_UUID must be set). */
function machineUuid(): string | undefined {
  try {
    const id = readFileSync('/etc/machine-id', 'latin1').trim();
    return /^[0-9a-f]{32}$/.test(id) ? id.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-') : undefined;
  } catch {
    return undefined;
  }
}
