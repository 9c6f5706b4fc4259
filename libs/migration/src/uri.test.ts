import { describe, expect, it } from '@jest/globals';
import { formatMigrationUri, listenProblem, parseMigrationUri } from './uri.ts';

describe('a migration URI', () => {
  it.each([
    ['tcp:host-b:49152', 'tcp:host-b:49152'],
    ['tcp://host-b:49152', 'tcp:host-b:49152'],
    ['tcp:10.0.0.2', 'tcp:10.0.0.2'],
    ['tcp:[fe80::1]:49152', 'tcp:[fe80::1]:49152'],
    ['tcp://[::1]', 'tcp:[::1]'],
    ['unix:/run/ferry/m.sock', 'unix:/run/ferry/m.sock'],
    ['unix:///run/ferry/m.sock', 'unix:/run/ferry/m.sock'],
  ])('%s is understood', (text, written) => {
    expect(formatMigrationUri(parseMigrationUri(text))).toBe(written);
  });

  it.each([
    'exec:rm -rf /',
    'fd:7',
    'file:/tmp/x',
    'rdma:host:1',
    'tcp:',
    'tcp:host:0',
    'tcp:host:70000',
    'tcp:host:1,to=9',
    'tcp:host:1:2',
    'tcp:::1:49152',
    'tcp:[host]:1',
    'tcp:-host:1',
    'unix:relative',
    'unix:/a/../b',
    'unix:/a,b',
    'unix:/a\nb',
    `unix:/${'x'.repeat(107)}`,
    '',
  ])('%j is refused', (text) => {
    expect(() => parseMigrationUri(text)).toThrow(expect.objectContaining({ kind: 'invalid-uri' }));
  });
});

describe('where a destination listens', () => {
  const here = { address: 'Host-B', ports: { first: 49_152, last: 49_215 }, sockets: '/var/lib/ferry/sockets' };

  it.each(['tcp:host-b', 'tcp:HOST-B:49152', 'tcp:host-b:49215', 'unix:/var/lib/ferry/sockets/m'])('%s', (uri) => {
    expect(listenProblem(parseMigrationUri(uri), here)).toBeUndefined();
  });

  it.each([
    ['tcp:0.0.0.0', 'FERRY_MIGRATION_ADDRESS'],
    ['tcp:[::]:49152', 'FERRY_MIGRATION_ADDRESS'],
    ['tcp:host-b.example:49152', 'FERRY_MIGRATION_ADDRESS'],
    ['tcp:host-b:49151', 'FERRY_MIGRATION_PORTS'],
    ['tcp:host-b:49216', 'FERRY_MIGRATION_PORTS'],
    ['unix:/var/lib/ferry/sockets', 'FERRY_MIGRATION_SOCKETS'],
    ['unix:/var/lib/ferry/sockets/', 'FERRY_MIGRATION_SOCKETS'],
    ['unix:/var/lib/ferry/sockets/.', 'FERRY_MIGRATION_SOCKETS'],
    ['unix:/var/lib/ferry/sockets/below/m', 'FERRY_MIGRATION_SOCKETS'],
    ['unix:/var/lib/ferry/sockets-of-others/m', 'FERRY_MIGRATION_SOCKETS'],
    ['unix:/etc/shadow', 'FERRY_MIGRATION_SOCKETS'],
  ])('not %s', (uri, variable) => {
    expect(listenProblem(parseMigrationUri(uri), here)).toContain(variable);
  });
});
