import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Log } from './log.ts';

/** A reply that takes longer counts as no reply, ms. */
const replyMsMax = 1_000;
/** The longest pause between two tries to connect, ms. */
const reconnectMsMax = 500;
/** While Redis is missing it is said this often, ms. */
const remindMs = 10_000;

/**
 * A client of the Redis at `url` (redis://…, rediss://… or the path of a UNIX socket), connecting from now on and again whenever the
 * connection is lost. While there is no connection a command fails at once: it must not be carried out at some later time, when its
 * caller has long decided otherwise. For the same reason a command whose connection broke is not sent again.
 */
export function openRedis(url: string, log: Log): Redis {
  const options = {
    commandTimeout: replyMsMax,
    connectTimeout: replyMsMax,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
    // ioredis waits that long for a connection to end that may have ended already; its default is 2 s.
    disconnectTimeout: 100,
    // The first try again comes soon: a Redis that restarts is away for a fraction of a second.
    retryStrategy: (tries: number) => Math.min(10 * 2 ** Math.min(tries, 10), reconnectMsMax),
    // After a failover the old master says READONLY to whoever is still connected to it.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  };
  const redis = url.startsWith('/') ? new Redis({ ...options, path: url }) : new Redis(url, options);
  let away = false;
  redis.on('error', (error: Error) => {
    if (!away) log.warn({ err: error }, 'Redis is away');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info('Redis is back');
    away = false;
  });
  return redis;
}

/** Waits until Redis answers, and says so while it does not. Throws the signal's reason. */
export async function waitForRedis(redis: Redis, log: Log, signal: AbortSignal): Promise<void> {
  let saidAt: number | undefined;
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
    // A client that connects for the first time is given a moment before we call Redis missing.
    const now = performance.now();
    if (
      redis.status !== 'connecting' &&
      redis.status !== 'connect' &&
      (saidAt === undefined || now - saidAt > remindMs)
    ) {
      saidAt = now;
      log.warn({ redis: addressOf(redis) }, 'waiting for Redis');
    }
    await delay(20, undefined, { signal }).catch(() => {});
  }
}

/** Where Redis should be, without the password that may be in its URL. */
const addressOf = ({ options }: Redis): string => options.path ?? `${options.host ?? ''}:${options.port ?? ''}`;
