import { describe, expect, it } from '@jest/globals';
import { formatMigrationUri, parseMigrationUri } from './uri.ts';

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
