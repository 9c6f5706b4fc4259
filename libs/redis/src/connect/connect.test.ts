import { describe, expect, it } from '@jest/globals';
import { startRedis } from '@ferry/jobs/testing';
import { pino } from 'pino';
import { openRedis, waitForRedis } from './connect.ts';
import { parseRedisUrl } from './url.ts';

const at = (path: string) => ({ kind: 'socket', path }) as const;

/** A log, and a promise of the first line that has some words in it. */
function watchedLog(words: string) {
  const seen = Promise.withResolvers<string>();
  const log = pino({ level: 'info' }, { write: (line) => void (line.includes(words) && seen.resolve(line)) });
  return { log, seen: seen.promise };
}

const patient = AbortSignal.timeout(30_000);

describe('waitForRedis', () => {
  it('returns when Redis answers', async () => {
    await using server = await startRedis();
    const { log } = watchedLog('');
    const redis = openRedis(at(server.socket), log);
    await waitForRedis(redis, log, patient);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
  });

  it('waits for a Redis that is missing, says so, and goes on when it comes', async () => {
    await using server = await startRedis();
    await server.kill();
    const { log, seen } = watchedLog('waiting for Redis');
    const redis = openRedis(at(server.socket), log);
    const waiting = waitForRedis(redis, log, patient);
    expect(JSON.parse(await seen)).toMatchObject({ redis: server.socket, level: 40 });
    await server.restart();
    await waiting;
    redis.disconnect();
  });

  it('waits no longer than it is told to', async () => {
    const { log, seen } = watchedLog('waiting for Redis');
    const redis = openRedis(at('/there/is/no/socket'), log);
    const stop = new AbortController();
    const waiting = waitForRedis(redis, log, stop.signal);
    await seen;
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    redis.disconnect();
  });

  it('does not say the password', async () => {
    const { log, seen } = watchedLog('waiting for Redis');
    const redis = openRedis(parseRedisUrl('redis://user:s3cret@127.0.0.1:1'), log);
    const stop = new AbortController();
    const waiting = waitForRedis(redis, log, stop.signal);
    expect(await seen).not.toContain('s3cret');
    stop.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    redis.disconnect();
  });
});

describe('openRedis', () => {
  it('fails at once while there is no connection, says that Redis is away, and comes back by itself', async () => {
    await using server = await startRedis();
    const away = watchedLog('Redis is away');
    const redis = openRedis(at(server.socket), away.log);
    await waitForRedis(redis, away.log, patient);
    await server.kill();
    await expect(redis.ping()).rejects.toThrow();
    await away.seen;
    await server.restart();
    await waitForRedis(redis, away.log, patient);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
  });

  it('does not wait for a Redis that hangs', async () => {
    await using server = await startRedis();
    const { log } = watchedLog('');
    const redis = openRedis(at(server.socket), log);
    await waitForRedis(redis, log, patient);
    server.freeze();
    await expect(redis.ping()).rejects.toThrow('timed out');
    server.thaw();
    redis.disconnect();
  });
});
