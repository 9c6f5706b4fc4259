import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { readConfig } from './config.ts';
import { AgentError } from './errors.ts';

const least = {
  FERRY_HOST: 'a',
  FERRY_HOST_UUID: '3FA85F64-5717-4562-b3fc-2c963f66afa6',
  FERRY_LISTEN: '127.0.0.1:0',
  FERRY_REDIS_URL: 'redis://127.0.0.1:6379',
  FERRY_INSECURE_LOOPBACK: '1',
};

/** The variables that are complained about. */
function badIn(env: Record<string, string | undefined>): string[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    expect(error.kind).toBe('config-invalid');
    const [, ...lines] = error.message.split('\n');
    return lines.map((line) => line.slice(0, line.indexOf(':'))).toSorted();
  }
}

describe('readConfig', () => {
  it('needs little and knows the rest', () => {
    expect(readConfig(least)).toEqual({
      host: { name: 'a', uuid: '3fa85f64-5717-4562-b3fc-2c963f66afa6' },
      listen: { host: '127.0.0.1', port: 0 },
      address: '127.0.0.1:0',
      stateDir: '/var/lib/ferry',
      redis: { kind: 'server', url: 'redis://127.0.0.1:6379' },
      tls: undefined,
      migration: { address: '127.0.0.1', ports: { first: 49_152, last: 49_215 }, sockets: '/var/lib/ferry/sockets' },
      qemu: 'qemu-system-x86_64',
      qemuUser: undefined,
      leaseMs: 10_000,
      idleMs: 30_000,
      finishMs: 2_000,
      stallMs: 1_000,
      holdMs: 300_000,
      domainPaths: ['/var/lib/libvirt/images'],
      protectedPaths: expect.arrayContaining([
        '/var/lib/ferry',
        '/var/lib/ferry/sockets',
        import.meta.dirname.replace(/\/agent\/src$/, ''),
      ]),
      addedArguments: 'refuse',
      sharedPaths: [],
      networks: new Map(),
      memoryReserveBytes: 0,
      guestLogBytesMax: 64 * 2 ** 20,
      logLevel: 'info',
      metricsListen: undefined,
      allowed: new Set(),
      grants: [],
      auditLog: undefined,
      requireTls: false,
      memoryTlsDir: undefined,
    });
  });

  it('tells others where to reach an agent that listens everywhere', () => {
    const everywhere = {
      ...least,
      FERRY_INSECURE_LOOPBACK: '0',
      FERRY_LISTEN: '[::]:7101',
      FERRY_MIGRATION_ADDRESS: '10.0.0.1',
    };
    const tls = {
      FERRY_TLS_CERT: '/proc/self/maps',
      FERRY_TLS_KEY: '/proc/self/environ',
      FERRY_TLS_CA: '/proc/self/maps',
    };
    expect(readConfig({ ...everywhere, ...tls }).address).toBe('a:7101');
    expect(readConfig({ ...everywhere, ...tls, FERRY_ADDRESS: 'agents.example:1' }).address).toBe('agents.example:1');
  });

  it('takes what is set', () => {
    const config = readConfig({
      ...least,
      FERRY_LISTEN: '[::1]:7000',
      FERRY_REDIS_URL: 'unix:///run/redis.sock',
      FERRY_MIGRATION_PORTS: '50000-50001',
      FERRY_MIGRATION_SOCKETS: '/run/migrations/',
      FERRY_DOMAIN_PATHS: '/a:/b',
      FERRY_SHARED_PATHS: '/srv/shared',
      FERRY_NETWORKS: 'default=virbr0,ovs=net;2/a=b/c=br-1.5',
      FERRY_QEMU_COMMANDLINE: 'allow',
      FERRY_MEMORY_RESERVE_MIB: '2',
      FERRY_SERIAL_LOG_MIB: '3',
      FERRY_LEASE_MS: '2000',
      FERRY_METRICS_LISTEN: '0.0.0.0:9464',
    });
    expect(config).toMatchObject({
      listen: { host: '::1', port: 7000 },
      redis: { kind: 'socket', path: '/run/redis.sock' },
      migration: { address: '::1', ports: { first: 50_000, last: 50_001 }, sockets: '/run/migrations' },
      domainPaths: ['/a', '/b'],
      sharedPaths: ['/srv/shared'],
      networks: new Map([
        ['default', 'virbr0'],
        ['ovs=net;2/a=b/c', 'br-1.5'],
      ]),
      addedArguments: 'allow',
      memoryReserveBytes: 2 * 2 ** 20,
      guestLogBytesMax: 3 * 2 ** 20,
      leaseMs: 2_000,
      metricsListen: { host: '0.0.0.0', port: 9464 },
    });
  });

  it('reports every bad variable at once', () => {
    expect(
      badIn({
        FERRY_HOST: 'no spaces please',
        FERRY_HOST_UUID: 'x',
        FERRY_LISTEN: '127.0.0.1',
        FERRY_REDIS_URL: 'http://127.0.0.1',
        FERRY_STATE_DIR: 'relative',
        FERRY_TLS_CERT: '/there/is/no/such/file',
        FERRY_TLS_KEY: '/there/is/no/such/file',
        FERRY_TLS_CA: '/there/is/no/such/file',
        FERRY_MIGRATION_PORTS: '10-9',
        FERRY_LEASE_MS: '1e4',
        FERRY_IDLE_MS: '1',
        FERRY_FINISH_MS: '1',
        FERRY_DOMAIN_PATHS: '/a::/b',
        FERRY_SHARED_PATHS: 'srv',
        FERRY_NETWORKS: 'default',
        FERRY_MEMORY_RESERVE_MIB: '-1',
        FERRY_LOG_LEVEL: 'loud',
        FERRY_METRICS_LISTEN: '9464',
      }),
    ).toEqual(
      ['HOST', 'HOST_UUID', 'LISTEN', 'REDIS_URL', 'STATE_DIR', 'TLS_CERT', 'TLS_KEY', 'TLS_CA', 'MIGRATION_PORTS']
        .concat([
          'LEASE_MS',
          'IDLE_MS',
          'FINISH_MS',
          'DOMAIN_PATHS',
          'SHARED_PATHS',
          'NETWORKS',
          'MEMORY_RESERVE_MIB',
          'LOG_LEVEL',
          'METRICS_LISTEN',
        ])
        .map((name) => `FERRY_${name}`)
        .toSorted(),
    );
  });

  it.each([
    '/',
    '/var/lib',
    '/var/lib/ferry',
    '/var/lib/ferry/images',
    '/srv:/var/lib/ferry/sockets',
    import.meta.dirname,
  ])('lets documents use nothing of the agents’ own: %s', (paths) => {
    expect(badIn({ ...least, FERRY_DOMAIN_PATHS: paths })).toEqual(['FERRY_DOMAIN_PATHS']);
  });

  it('lets documents reach the keys’ directories by no other name', () => {
    const dir = mkdtempSync(join(tmpdir(), 'ferry-config-'));
    try {
      mkdirSync(join(dir, 'tls'));
      mkdirSync(join(dir, 'images'));
      for (const name of ['cert', 'key', 'ca']) writeFileSync(join(dir, 'tls', name), '', { mode: 0o600 });
      symlinkSync(join(dir, 'tls'), join(dir, 'link'));
      const [cert, key, ca] = ['cert', 'key', 'ca'].map((name) => join(dir, 'tls', name));
      const tls = { FERRY_INSECURE_LOOPBACK: '0', FERRY_TLS_CERT: cert, FERRY_TLS_KEY: key, FERRY_TLS_CA: ca };
      const bad = (...paths: string[]) => badIn({ ...least, ...tls, FERRY_DOMAIN_PATHS: paths.join(':') });
      expect(bad(join(dir, 'images'))).toEqual([]);
      for (const path of [dir, join(dir, 'tls'), join(dir, 'link'), join(dir, 'link', 'not-yet')])
        expect(bad(join(dir, 'images'), path)).toEqual(['FERRY_DOMAIN_PATHS']);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it('takes no key that others may read', () => {
    const dir = mkdtempSync(join(tmpdir(), 'ferry-config-'));
    try {
      const [cert = '', key = '', ca = ''] = ['cert', 'key', 'ca'].map((name) => join(dir, name));
      for (const name of [cert, key, ca]) writeFileSync(name, '', { mode: 0o644 });
      const tls = { FERRY_INSECURE_LOOPBACK: '0', FERRY_TLS_CERT: cert, FERRY_TLS_KEY: key, FERRY_TLS_CA: ca };
      expect(() => readConfig({ ...least, ...tls })).toThrow(
        /FERRY_TLS_KEY: may be read by its group or others: chmod 600/,
      );
      chmodSync(key, 0o600);
      expect(badIn({ ...least, ...tls })).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  it.each(['redis://10.0.0.1:6379', 'redis://redis.example.net', 'redis+sentinel://s1.example.net,127.0.0.1/m'])(
    'talks to a Redis on another machine without TLS only on the word of its configuration: %s',
    (url) => {
      expect(badIn({ ...least, FERRY_REDIS_URL: url })).toEqual(['FERRY_REDIS_URL']);
      expect(badIn({ ...least, FERRY_REDIS_URL: url, FERRY_REDIS_PLAINTEXT: 'allow' })).toEqual([]);
    },
  );

  it.each([
    'redis://[::1]:6379',
    'redis://localhost',
    'rediss://10.0.0.1',
    'rediss+sentinel://s1.example.net/m',
    '/run/r.sock',
  ])('talks to %s as it is', (url) => {
    expect(badIn({ ...least, FERRY_REDIS_URL: url })).toEqual([]);
  });

  it.each([
    ['default', 'separated by commas; "default" is not'],
    ['a=br0,', '; "" is not'],
    ['=br0', '; "=br0" is not'],
    ['a=', '; "a=" is not'],
    ['a=br0, b=br1', '; " b=br1" is not'],
    ['a =br0', '; "a =br0" is not'],
    ['a=br0 ', '; "a=br0 " is not'],
    ['a/=br0', '; "a/=br0" is not'],
    ['/a=br0', '; "/a=br0" is not'],
    ['a=../br0', '; "a=../br0" is not'],
    ['a=a-name-longer-than-15', '; "a=a-name-longer-than-15" is not'],
    ['a=br0,b=br0,a=br1', 'names "a" twice'],
  ])('says what is wrong with the networks %j', (text, wrong) => {
    expect(() => readConfig({ ...least, FERRY_NETWORKS: text })).toThrow(wrong);
  });

  it('takes a variable set to nothing for one that is not set', () => {
    expect(badIn({ ...least, FERRY_LISTEN: '', FERRY_REDIS_URL: undefined, FERRY_LEASE_MS: '' })).toEqual([
      'FERRY_LISTEN',
      'FERRY_REDIS_URL',
    ]);
  });

  it('wants TLS, unless it is told that loopback will do', async () => {
    const tls = ['FERRY_TLS_CA', 'FERRY_TLS_CERT', 'FERRY_TLS_KEY'];
    expect(badIn({ ...least, FERRY_INSECURE_LOOPBACK: undefined })).toEqual(tls);
    expect(badIn({ ...least, FERRY_INSECURE_LOOPBACK: '0' })).toEqual(tls);
    expect(badIn({ ...least, FERRY_LISTEN: '10.0.0.1:7000' })).toEqual(['FERRY_INSECURE_LOOPBACK']);
    expect(badIn({ ...least, FERRY_LISTEN: 'localhost:7000' })).toEqual([]);
    expect(badIn({ ...least, FERRY_LISTEN: '127.9.9.9:7000' })).toEqual([]);

    const dir = await mkdtemp(join(tmpdir(), 'ferry-config-'));
    try {
      const file = join(dir, 'pem');
      writeFileSync(file, '');
      const files = { FERRY_TLS_CERT: file, FERRY_TLS_KEY: '/proc/self/environ', FERRY_TLS_CA: file };
      expect(badIn({ ...least, ...files })).toEqual(['FERRY_INSECURE_LOOPBACK']);
      const config = readConfig({ ...least, ...files, FERRY_INSECURE_LOOPBACK: undefined, FERRY_LISTEN: '10.0.0.1:1' });
      expect(config.tls).toEqual({ cert: file, key: '/proc/self/environ', ca: file });
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it('reads which arguments for QEMU documents may add', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'ferry-config-'));
    try {
      const file = join(dir, 'arguments');
      const env = { ...least, FERRY_QEMU_COMMANDLINE: file };
      expect(badIn(env)).toEqual(['FERRY_QEMU_COMMANDLINE']);
      writeFileSync(file, '# ours\n-fw_cfg name=opt/a/*\n');
      expect(readConfig(env).addedArguments).toEqual([{ name: '-fw_cfg', pattern: 'name=opt/a/*' }]);
      writeFileSync(file, 'fw_cfg\n');
      expect(() => readConfig(env)).toThrow(/arguments: line 1 is neither/);
      expect(badIn({ ...least, FERRY_QEMU_COMMANDLINE: 'yes' })).toEqual(['FERRY_QEMU_COMMANDLINE']);
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it('does not guess where memory should be sent to', () => {
    const everywhere = { ...least, FERRY_INSECURE_LOOPBACK: '0', FERRY_LISTEN: '0.0.0.0:7000' };
    const file = import.meta.filename;
    const env = { ...everywhere, FERRY_TLS_CERT: file, FERRY_TLS_KEY: '/proc/self/environ', FERRY_TLS_CA: file };
    expect(badIn(env)).toEqual(['FERRY_MIGRATION_ADDRESS']);
    expect(readConfig({ ...env, FERRY_MIGRATION_ADDRESS: '10.0.0.1' }).migration.address).toBe('10.0.0.1');
  });
});
