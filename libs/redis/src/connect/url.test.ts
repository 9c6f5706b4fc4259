import { describe, expect, it } from '@jest/globals';
import { parseRedisUrl } from './url.ts';

const plain = {
  kind: 'sentinels',
  sentinels: [{ host: 's1', port: 26_379 }],
  master: 'ferry',
  db: 0,
  tls: false,
  credentials: undefined,
  sentinelCredentials: undefined,
};

describe('parseRedisUrl', () => {
  it.each([
    ['/run/redis.sock', { kind: 'socket', path: '/run/redis.sock' }],
    ['unix:///run/redis.sock', { kind: 'socket', path: '/run/redis.sock' }],
    ['redis://:p@h:1/2', { kind: 'server', url: 'redis://:p@h:1/2' }],
    ['rediss://h', { kind: 'server', url: 'rediss://h' }],
    ['redis+sentinel://s1/ferry', plain],
    ['redis+sentinel://s1:26379/ferry/0', plain],
    ['REDISS+sentinel://s1/ferry/3', { ...plain, tls: true, db: 3 }],
    [
      'redis+sentinel://s1:1,10.0.0.2,[::1],[fe80::1]:4/my-master.1',
      {
        ...plain,
        sentinels: [
          { host: 's1', port: 1 },
          { host: '10.0.0.2', port: 26_379 },
          { host: '::1', port: 26_379 },
          { host: 'fe80::1', port: 4 },
        ],
        master: 'my-master.1',
      },
    ],
    ['redis+sentinel://:p%40%2F%3a@s1/ferry', { ...plain, credentials: { username: undefined, password: 'p@/:' } }],
    ['redis+sentinel://u:p@s1/ferry', { ...plain, credentials: { username: 'u', password: 'p' } }],
    [
      'redis+sentinel://s1/ferry?sentinel_username=u&sentinel_password=%26',
      { ...plain, sentinelCredentials: { username: 'u', password: '&' } },
    ],
    [
      'redis+sentinel://s1/ferry?sentinel_password=p',
      { ...plain, sentinelCredentials: { username: undefined, password: 'p' } },
    ],
  ])('reads %s', (text, place) => {
    expect(parseRedisUrl(text)).toEqual(place);
  });

  it.each([
    ['http://h', /must be redis:/],
    ['redis-sentinel://s1/ferry', /must be redis:/],
    ['redis+sentinel://', /name its sentinels/],
    ['redis+sentinel:///ferry', /name its sentinels/],
    ['redis+sentinel://:s3cret@/ferry', /name its sentinels/],
    ['redis+sentinel://s1', /name the master/],
    ['redis+sentinel://s1/', /name the master/],
    ['redis+sentinel://s1/a%20b', /name the master/],
    ['redis+sentinel://s1/ferry/x', /number of a database/],
    ['redis+sentinel://s1/ferry/', /number of a database/],
    ['redis+sentinel://s1/ferry/1/2', /number of a database/],
    ['redis+sentinel://s1,,s2/ferry', /HOST\[:PORT\]/],
    ['redis+sentinel://s1:0/ferry', /HOST\[:PORT\]/],
    ['redis+sentinel://s1:99999/ferry', /HOST\[:PORT\]/],
    ['redis+sentinel://[::g]/ferry', /HOST\[:PORT\]/],
    ['redis+sentinel://s1,s1:26379/ferry', /each sentinel once/],
    ['redis+sentinel://s3cret@s1/ferry', /\[USER\]:PASSWORD/],
    ['redis+sentinel://u:@s1/ferry', /\[USER\]:PASSWORD/],
    ['redis+sentinel://u:s3cret@s3cret@s1/ferry', /\[USER\]:PASSWORD/],
    ['redis+sentinel://u:s3cret/@s1/ferry', /name the master/],
    ['redis+sentinel://u:s3cret%zz@s1/ferry', /%25/],
    ['redis+sentinel://s1/ferry?role=slave', /no other parameters/],
    ['redis+sentinel://s1/ferry?sentinel_username=u', /sentinel_password/],
  ])('refuses %s and does not repeat what it says', (text, why) => {
    expect(() => parseRedisUrl(text)).toThrow(why);
    expect(() => parseRedisUrl(text)).not.toThrow(/s3cret/);
  });
});
