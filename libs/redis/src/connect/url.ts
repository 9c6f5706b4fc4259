import { isAbsolute } from 'node:path';
import { type HostPort, isLoopback, parseHostPort } from '@ferry/rpc';

/** Where Redis is found: at one place, or where sentinels say that the master is. */
export type RedisPlace =
  | { readonly kind: 'socket'; readonly path: string }
  /** redis:// or rediss://, as ioredis reads it. */
  | { readonly kind: 'server'; readonly url: string }
  | SentinelPlace;

/** The master of that name, by these sentinels. */
export interface SentinelPlace {
  readonly kind: 'sentinels';
  readonly sentinels: readonly HostPort[];
  readonly master: string;
  readonly db: number;
  /** With the sentinels and with Redis. */
  readonly tls: boolean;
  readonly credentials: RedisUser | undefined;
  /** Sentinels know users of their own. */
  readonly sentinelCredentials: RedisUser | undefined;
}

export interface RedisUser {
  readonly username: string | undefined;
  readonly password: string;
}

/** What is wrong with a URL. It never says what is in it: that may be a password. */
export class RedisUrlError extends Error {
  override readonly name = 'RedisUrlError';
}

const sentinelPortUsual = 26_379;
const sentinelScheme = /^(rediss?)\+sentinel:\/\//i;

/**
 * Reads FERRY_REDIS_URL: redis://…, rediss://…, unix:///PATH, /PATH, or
 * redis[s]+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,…]/MASTER[/DB][?sentinel_username=…&sentinel_password=…]. Throws RedisUrlError.
 */
export function parseRedisUrl(text: string): RedisPlace {
  const path = text.startsWith('unix://') ? text.slice('unix://'.length) : text;
  if (isAbsolute(path)) return { kind: 'socket', path };
  if (sentinelScheme.test(text)) return parseSentinelUrl(text);
  if (/^rediss?:\/\//.test(text) && URL.canParse(text)) return { kind: 'server', url: text };
  throw new RedisUrlError(
    'must be redis://…, rediss://…, redis+sentinel://HOST[:PORT],…/MASTER, rediss+sentinel://…, unix:///PATH or an absolute path',
  );
}

/** Whether what is said to Redis can be read on the way: there is no TLS, and it is on another machine. */
export function isReadableOnTheWay(place: RedisPlace): boolean {
  switch (place.kind) {
    case 'socket':
      return false;
    case 'server': {
      const { protocol, hostname } = new URL(place.url);
      return protocol === 'redis:' && !isLoopback(hostname.replace(/^\[|\]$/g, ''));
    }
    case 'sentinels':
      return !place.tls && place.sentinels.some(({ host }) => !isLoopback(host));
  }
}

function parseSentinelUrl(text: string): SentinelPlace {
  // URL reads no list of hosts.
  const [whole = '', scheme = ''] = sentinelScheme.exec(text) ?? [];
  const [, userInfo, hosts = '', segments = '', query = ''] =
    /^(?:([^/?#]*)@)?([^/?#@]*)([^?#]*)(?:\?([^#]*))?$/.exec(text.slice(whole.length)) ?? [];
  if (hosts === '') throw new RedisUrlError('must name its sentinels: redis+sentinel://HOST[:PORT],…/MASTER');
  const [, master = '', db = '0', ...more] = segments.split('/');
  if (!/^[A-Za-z0-9._-]+$/.test(master))
    throw new RedisUrlError('must name the master after its sentinels, as their configuration does: …/MASTER');
  if (!/^\d{1,5}$/.test(db) || more.length > 0)
    throw new RedisUrlError('must have nothing after the master’s name but the number of a database: …/MASTER/DB');
  return {
    kind: 'sentinels',
    sentinels: sentinelsOf(hosts),
    master,
    db: Number(db),
    tls: scheme.toLowerCase() === 'rediss',
    credentials: userInfo === undefined ? undefined : credentialsOf(userInfo),
    sentinelCredentials: sentinelCredentialsOf(query),
  };
}

function sentinelsOf(hosts: string): HostPort[] {
  const texts = hosts.split(',');
  const found = texts.map((host) => parseHostPort(host) ?? parseHostPort(`${host}:${sentinelPortUsual}`));
  const sentinels = found.filter((sentinel) => sentinel !== undefined).filter(({ port }) => port > 0);
  if (sentinels.length < texts.length)
    throw new RedisUrlError('must name its sentinels as HOST[:PORT] or [IPV6][:PORT], separated by commas');
  const names = new Set(sentinels.map(({ host, port }) => `${host} ${port}`));
  if (names.size < sentinels.length) throw new RedisUrlError('must name each sentinel once');
  return sentinels;
}

function credentialsOf(userInfo: string): RedisUser {
  const [, username = '', password = ''] = /^([^:@]*):([^:@]+)$/.exec(userInfo) ?? [];
  if (password === '')
    throw new RedisUrlError(
      'must have [USER]:PASSWORD before its @, with : / ? # @ in them written as %3A %2F %3F %23 %40',
    );
  return { username: username === '' ? undefined : decoded(username), password: decoded(password) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RedisUrlError('has a % that begins no escape; a % itself is written as %25');
  }
}

function sentinelCredentialsOf(query: string): RedisUser | undefined {
  const {
    sentinel_username: username,
    sentinel_password: password,
    ...others
  } = Object.fromEntries(new URLSearchParams(query));
  if (Object.keys(others).length > 0)
    throw new RedisUrlError('must have no other parameters than sentinel_username and sentinel_password');
  if (password === undefined && username !== undefined)
    throw new RedisUrlError('must have sentinel_password where it has sentinel_username');
  return password === undefined ? undefined : { username, password };
}
