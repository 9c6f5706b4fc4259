import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { pino } from 'pino';
import { openRedis, waitForRedis } from './connect.ts';
import { lackingSettings } from './settings.ts';

let server: PrivateRedis;
beforeEach(async () => {
  server = await startRedis();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const settingsOf = async (redis = server.client()) =>
  (await lackingSettings(redis)).lacking.map(({ setting, is }) => `${setting}=${is}`);

it('names what is missing, and nothing once it is set', async () => {
  const redis = server.client();
  expect(await settingsOf()).toEqual(['appendonly=no']);
  await redis.config('SET', 'maxmemory', '100mb');
  await redis.config('SET', 'maxmemory-policy', 'volatile-lru');
  expect(await settingsOf()).toEqual(['maxmemory-policy=volatile-lru', 'appendonly=no']);
  await redis.config('SET', 'maxmemory-policy', 'noeviction');
  await redis.config('SET', 'save', '60 1000');
  expect(await settingsOf()).toEqual([]);
});

it('names a replica', async () => {
  const redis = server.client();
  await redis.call('REPLICAOF', '127.0.0.1', '1');
  expect(await settingsOf()).toEqual(['role=slave']);
});

it('names min-replicas-to-write of a master that has a replica, and of no other', async () => {
  const redis = server.client();
  await redis.config('SET', 'appendonly', 'yes');
  expect(await settingsOf()).toEqual([]);
  using replica = Object.assign(connect(server.socket), { [Symbol.dispose]: () => void replica.destroy() });
  replica.write('SYNC\r\n');
  await once(replica, 'data');
  expect(await settingsOf()).toEqual(['min-replicas-to-write=0']);
  await redis.config('SET', 'min-replicas-to-write', '1');
  expect(await settingsOf()).toEqual([]);
});

it('is said by a client whenever it has connected, and once if it stays the same; that CONFIG is refused likewise', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line) => void lines.push(line) });
  const redis = openRedis({ kind: 'socket', path: server.socket }, log);
  await waitForRedis(redis, log, AbortSignal.timeout(30_000));
  const said = (words: string): string[] => lines.filter((line) => line.includes(words));
  const until = async (found: () => boolean): Promise<void> => {
    while (!found()) await redis.ping().catch(() => new Promise((resolve) => setTimeout(resolve, 5)));
  };
  await until(() => said('appendonly is no, set yes').length === 1);
  await server.restart();
  await until(() => redis.status === 'ready');
  await server.client().call('ACL', 'SETUSER', 'default', '-config');
  redis.disconnect(true);
  await until(() => said('the settings of Redis cannot be read').length === 1);
  expect(said('appendonly is no')).toHaveLength(1);
  redis.disconnect();
});
