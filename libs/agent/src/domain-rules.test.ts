import { describe, expect, it } from '@jest/globals';
import { type Caller, Callers, onBehalfOf, type RoleGrant } from './callers.ts';
import { type DomainLookUp, DomainRule, domainRuleOf, refuseOtherDomains, visibleDomains } from './domain-rules.ts';
import { refuseForeignAgent } from './permissions.ts';
import type { X509Certificate } from 'node:crypto';

const never = new AbortController().signal;
const [ours, theirs, gone] = [
  '11111111-1111-4111-8111-111111111111',
  '22222222-2222-4222-8222-222222222222',
  '33333333-3333-4333-8333-333333333333',
];
const migration = '44444444-4444-4444-8444-444444444444';

const callerWith = (...grants: Omit<RoleGrant, 'name'>[]): Caller =>
  new Callers(grants.map((grant) => ({ name: 'CN=x', ...grant }))).opened('p', {
    subject: 'CN=x',
    subjectAltName: undefined,
    fingerprint256: 'AB',
  } as X509Certificate);

describe('a rule for domains', () => {
  it.each([
    [['web'], 'web', true],
    [['web'], 'web-1', false],
    [['web-*'], 'web-1', true],
    [['web-*'], 'web-', true],
    [['web-*'], 'xweb-1', false],
    [['*'], '', true],
    [['*-db'], 'a-db', true],
    [['*-db'], 'a-dba', false],
    [['a*b*c'], 'a1b2c', true],
    [['a*b*c'], 'abc', true],
    [['a*b*c'], 'acb', false],
    [['ab*ba'], 'aba', false],
    [['a*b*b'], 'ab', false],
    [['x', 'web'], 'web', true],
    [['.*'], 'web', false],
  ])('%j of the name %s: %s', (patterns, name, isCovered) => {
    expect(new DomainRule(patterns).covers({ uuid: theirs, name })).toBe(isCovered);
  });

  it('of a UUID covers that domain, whatever its name and however it is written', () => {
    const rule = new DomainRule([ours.toUpperCase()]);
    expect(rule.covers({ uuid: ours, name: 'x' })).toBe(true);
    expect(rule.covers({ uuid: theirs, name: ours })).toBe(false);
  });
});

describe('a caller', () => {
  const suspend = '/ferry.v1.Domains/Suspend';
  const finish = '/ferry.v1.DestAgent/Finish';

  it('is bound by the rules of those of its roles that may call the method', () => {
    const both = callerWith({ role: 'viewer' }, { role: 'operator', domains: ['web-*'] });
    expect(domainRuleOf(both, '/ferry.v1.Domains/List')).toBeUndefined();
    expect(domainRuleOf(both, suspend)?.covers({ name: 'web-1' })).toBe(true);
    expect(domainRuleOf(both, suspend)?.covers({ name: 'db-1' })).toBe(false);
  });

  it('of two roles with rules has both domains; one without a rule has all', () => {
    const web = { role: 'operator', domains: ['web-*'] } as const;
    const two = domainRuleOf(callerWith(web, { role: 'admin', domains: ['db-*'] }), suspend);
    expect([two?.covers({ name: 'web-1' }), two?.covers({ name: 'db-1' })]).toEqual([true, true]);
    expect(domainRuleOf(callerWith(web, { role: 'admin' }), suspend)).toBeUndefined();
  });

  it('that is an agent too has no more domains by that, and no other host’s migrations by its rule', () => {
    const caller = callerWith({ role: 'agent', host: 'c' }, { role: 'controller', domains: ['web-*'] });
    expect(domainRuleOf(caller, finish)?.covers({ name: 'db-1' })).toBe(false);
    expect(() => refuseForeignAgent(caller, 'a', migration)).toThrow(/host c/);
  });

  it('sees of a list what its rule covers', () => {
    const domains = [
      { uuid: ours, name: 'web-1' },
      { uuid: theirs, name: 'db-1' },
    ];
    const seen = (caller: Caller) =>
      onBehalfOf(caller, () => visibleDomains('/ferry.v1.Domains/List', domains)).map(({ name }) => name);
    expect(seen(callerWith({ role: 'viewer', domains: ['web-*'] }))).toEqual(['web-1']);
    expect(seen(callerWith({ role: 'viewer' }))).toEqual(['web-1', 'db-1']);
  });
});

describe('a request', () => {
  const names: Readonly<Record<string, string>> = { [ours]: 'web-1', [theirs]: 'db-1' };
  const known: DomainLookUp = {
    nameOf: (uuid) => Promise.resolve(names[uuid]),
    inDocument: (xml) => Promise.resolve({ uuid: xml.split(' ')[0] ?? '', name: xml.split(' ')[1] ?? '' }),
    ofMigration: ({ migrationId }) =>
      Promise.resolve(migrationId === migration ? { uuid: theirs, name: 'db-1' } : undefined),
  };
  const refused = async (request: unknown, rule = new DomainRule(['web-*']), path = '/x/Method'): Promise<boolean> =>
    refuseOtherDomains(rule, path, request, known, never).then(
      () => false,
      (error: unknown) => {
        expect(error).toMatchObject({ kind: 'not-allowed', message: expect.not.stringContaining('db-1') });
        return true;
      },
    );

  it.each([
    [{ domain: 'web-1' }, false],
    [{ domain: ours }, false],
    [{ domain: ours.toUpperCase() }, false],
    [{ domain: theirs }, true],
    [{ domain: gone }, true],
    [{ domain: '' }, true],
    [{ domainXml: `${gone} web-2` }, false],
    [{ domainXml: `${gone} other` }, true],
    // Another domain’s UUID under a name that is allowed.
    [{ domainXml: `${theirs} web-2` }, true],
    [{ domain: 'web-1', domainXml: `${ours} other` }, true],
    [{ domain: 'web-1', domainXml: '' }, false],
    // A migration of another domain, by its id.
    [{ domain: 'web-1', migrationId: migration }, true],
    [{ domain: 'web-1', migrationId: gone }, false],
    [{ migrationId: gone }, false],
    [{ request: { $case: 'finish', value: { domain: theirs } } }, true],
    [{ request: { $case: 'finish', value: { domain: ours } } }, false],
    [{}, true],
    [{ host: 'a' }, true],
    [undefined, true],
  ])('%j is refused: %s', async (request, isRefused) => {
    expect(await refused(request)).toBe(isRefused);
  });

  it('by name is not covered by a rule for a UUID: others may have that name', async () => {
    expect(await refused({ domain: 'web-1' }, new DomainRule([ours]))).toBe(true);
    expect(await refused({ domain: ours }, new DomainRule([ours]))).toBe(false);
  });

  it('for a list is not refused: the answer leaves out the others', async () => {
    expect(await refused({}, undefined, '/ferry.v1.Domains/List')).toBe(false);
  });
});
