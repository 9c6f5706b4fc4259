import type { X509Certificate } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { alternativeNames, Callers, currentCaller, onBehalfOf, requesterNow, type RoleGrant } from './callers.ts';

const certificate = (subjectAltName: string | undefined, subject = 'CN=x\nO=y') =>
  ({ subject, subjectAltName, fingerprint256: 'AB:CD' }) as X509Certificate;

/** Roles and host of whoever shows a certificate with these names. */
function rolesOf(names: string | undefined, grants: readonly RoleGrant[] = [], subject?: string) {
  const { roles, host } = new Callers(grants).opened('1.2.3.4:5', certificate(names, subject));
  return { roles: [...roles], host };
}

describe('a certificate', () => {
  it.each([
    ['URI:spiffe://site/ferry/viewer', ['viewer'], undefined],
    ['DNS:a, URI:spiffe://site/teams/web/ferry/operator', ['operator'], undefined],
    ['URI:spiffe://site/ferry/agent/host-1.example', ['agent'], 'host-1.example'],
    ['URI:spiffe://site/ferry/agent/a, URI:spiffe://site/ferry/controller', ['agent', 'controller'], 'a'],
  ])('%s has its role', (names, roles, host) => {
    expect(rolesOf(names)).toEqual({ roles, host });
  });

  it.each([
    undefined,
    '',
    'DNS:spiffe://site/ferry/admin',
    'URI:spiffe://site/ferry/root',
    'URI:spiffe://site/ferry/agent',
    'URI:spiffe://site/ferry/agent/a/b',
    'URI:spiffe://site/ferry/admin/',
    'URI:https://site/ferry/admin',
    'URI:spiffe:///ferry/admin',
    // What Node writes for one name that contains what looks like two.
    'DNS:"x, URI:spiffe://site/ferry/admin"',
    'DNS:"x\\", URI:spiffe://site/ferry/admin"',
  ])('%s has none', (names) => {
    expect(rolesOf(names)).toEqual({ roles: [], host: undefined });
  });

  it('has what the host’s list gives to one of its names, or to its subject', () => {
    const grants: RoleGrant[] = [
      { name: 'spiffe://other/workload', role: 'operator' },
      { name: 'DNS:b.example', role: 'agent', host: 'b' },
      { name: 'CN=x, O=y', role: 'viewer' },
    ];
    expect(rolesOf('URI:spiffe://other/workload', grants, 'CN=z')).toEqual({ roles: ['operator'], host: undefined });
    expect(rolesOf('DNS:b.example', grants, 'CN=z')).toEqual({ roles: ['agent'], host: 'b' });
    expect(rolesOf(undefined, grants)).toEqual({ roles: ['viewer'], host: undefined });
    expect(rolesOf('DNS:c.example', grants, 'CN=z')).toEqual({ roles: [], host: undefined });
  });
});

it('reads names as Node writes them', () => {
  expect(alternativeNames('DNS:a, IP Address:127.0.0.1, URI:"x, y"')).toEqual([
    'DNS:a',
    'IP Address:127.0.0.1',
    'URI:x, y',
  ]);
});

it('knows a connection while it is open, and gives no role to others', () => {
  const callers = new Callers();
  callers.opened('p', certificate('URI:spiffe://s/ferry/admin'));
  expect([...callers.of('p').roles]).toEqual(['admin']);
  callers.closed('p');
  expect([...callers.of('p').roles]).toEqual([]);
});

it('is known to whatever runs for it, and to nothing else', async () => {
  const caller = new Callers().opened('p', certificate('URI:spiffe://s/ferry/admin'));
  const seen = await onBehalfOf(caller, async () => {
    await Promise.resolve();
    return [currentCaller(), requesterNow()];
  });
  expect(seen).toEqual([caller, 'spiffe://s/ferry/admin']);
  expect([currentCaller(), requesterNow()]).toEqual([undefined, '']);
});
