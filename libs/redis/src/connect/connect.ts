import { setTimeout as delay } from 'node:timers/promises';
import { formatHostPort } from '@ferry/rpc';
import { Redis, type RedisOptions } from 'ioredis';
import type { Log } from './log.ts';
import { MasterWatch } from './master-watch.ts';
import { watchSettings } from './settings.ts';
import { traceCommands } from './trace-commands.ts';
import type { RedisPlace, RedisUser, SentinelPlace } from './url.ts';

/** A reply that takes longer counts as no reply, ms. */
const replyMsMax = 1_000;
/** The longest pause between two tries to connect, ms. */
const reconnectMsMax = 500;
/** While Redis is missing it is said this often, ms. */
const remindMs = 10_000;
/** How long a first connection may take before we call Redis missing, ms. */
const firstMs = 2 * replyMsMax;

/** The first try again comes soon: a Redis that restarts is away for a fraction of a second. */
const retryMs = (tries: number): number => Math.min(10 * 2 ** Math.min(tries, 10), reconnectMsMax);

/**
 * Bounds of every client. While there is no connection a command fails at once: it must not be carried out at some later time, when its
 * caller has long decided otherwise. For the same reason a command whose connection broke is not sent again, to this Redis or to another.
 */
const bounds = {
  // For what is asked without a limit of its own. The scripts have one, which comes first and looks at the socket once more before it counts.
  commandTimeout: 2 * replyMsMax,
  connectTimeout: replyMsMax,
  maxRetriesPerRequest: 0,
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  disableClientInfo: true,
  // ioredis waits that long for a connection to end that may have ended already; its default is 2 s.
  disconnectTimeout: 100,
  retryStrategy: retryMs,
  // After a failover the old master says READONLY to whoever is still connected to it.
  reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
} satisfies RedisOptions;

/** A client of the Redis at `place`, connecting from now on and again whenever the connection is lost. */
export function openRedis(place: RedisPlace, log: Log): Redis {
  const redis = clientOf(place, log);
  traceCommands(redis);
  let away = false;
  redis.on('error', (error: Error) => {
    if (!away) log.warn({ err: error }, 'Redis is away');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info('Redis is back');
    away = false;
  });
  watchSettings(redis, log);
  return redis;
}

function clientOf(place: RedisPlace, log: Log): Redis {
  switch (place.kind) {
    case 'socket':
      return new Redis({ ...bounds, path: place.path });
    case 'server':
      return new Redis(place.url, bounds);
    case 'sentinels':
      return new SentinelRedis(place, log);
  }
}

/** A client of whichever Redis the sentinels call the master. They are asked anew for each connection, and what they name must say that it is one. */
class SentinelRedis extends Redis {
  readonly #watch: MasterWatch;

  constructor(place: SentinelPlace, log: Log) {
    const { sentinels, master, db, credentials, sentinelCredentials } = place;
    // As ioredis takes them where certificates are those of whom we connect to.
    const tls = place.tls ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {};
    let named: string | undefined;
    super({
      ...bounds,
      ...tls,
      sentinels: [...sentinels],
      name: master,
      role: 'master',
      db,
      ...loginOf(credentials),
      ...(sentinelCredentials === undefined
        ? {}
        : { sentinelUsername: sentinelCredentials.username, sentinelPassword: sentinelCredentials.password }),
      sentinelCommandTimeout: replyMsMax,
      sentinelRetryStrategy: retryMs,
      // Those that the URL names, and no others: who is asked is the operator's choice, and others may be reached by other names.
      updateSentinels: false,
      // Nothing is mapped; it is how ioredis tells whom it connects to.
      natMap: (address) => {
        named = address;
        return null;
      },
    });
    const alone = { ...bounds, protocol: 2, enableReadyCheck: false, ...loginOf(sentinelCredentials) } as const;
    this.#watch = new MasterWatch({
      sentinels: sentinels.map((at) =>
        new Redis({ ...alone, ...at, ...(place.tls ? { tls: {} } : {}) }).on('error', (error: Error) =>
          // What ioredis says of it itself, "Connection is closed", hides a certificate that is not trusted.
          log.debug({ err: error, sentinel: formatHostPort(at) }, 'a sentinel cannot be asked'),
        ),
      ),
      master,
      connectedTo: () => (this.status === 'ready' ? named : undefined),
      leave: () => this.disconnect(true),
      log,
    });
  }

  override disconnect(reconnect = false): void {
    if (!reconnect) this.#watch[Symbol.dispose]();
    super.disconnect(reconnect);
  }
}

const loginOf = (user: RedisUser | undefined): { username?: string; password?: string } =>
  user === undefined
    ? {}
    : { ...(user.username === undefined ? {} : { username: user.username }), password: user.password };

/** Waits until Redis answers, and says so while it does not. Throws the signal's reason. */
export async function waitForRedis(redis: Redis, log: Log, signal: AbortSignal): Promise<void> {
  let saidAt: number | undefined;
  const since = performance.now();
  for (;;) {
    signal.throwIfAborted();
    try {
      if (redis.status === 'ready') {
        await redis.ping();
        return;
      }
    } catch (error) {
      log.debug({ err: error }, 'Redis did not answer');
    }
    // A client that connects for the first time is given a moment; one that finds no sentinel goes on connecting.
    const now = performance.now();
    const connecting = redis.status === 'connecting' || redis.status === 'connect';
    if ((!connecting || now - since > firstMs) && (saidAt === undefined || now - saidAt > remindMs)) {
      saidAt = now;
      log.warn({ redis: addressOf(redis) }, 'waiting for Redis');
    }
    await delay(20, undefined, { signal }).catch(() => {});
  }
}

/** Where Redis should be, without the password that may be in its URL. */
function addressOf({ options }: Redis): string {
  const { path, sentinels, name, host = '', port = '' } = options;
  if (sentinels === undefined || sentinels === null) return path ?? `${host}:${port}`;
  const asked = sentinels.map((at) => formatHostPort({ host: at.host ?? '', port: at.port ?? 0 }));
  return `${name} by sentinels ${asked.join(', ')}`;
}
