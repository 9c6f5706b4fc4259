import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { CookieEnvelope } from '@ferry/proto/ferry/v1/cookie';
import { decodeCookie, encodeCookie, restoreMemoryKey, sealOf, wasGivenOurs, withoutMemoryKey } from './cookies.ts';
import { MigrationError } from './errors.ts';

const origin = {
  migrationId: '11111111-1111-4111-8111-111111111111',
  domainUuid: '22222222-2222-4222-8222-222222222222',
  domainName: 'web-1',
  hostName: 'a',
  hostUuid: 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa',
  agentAddress: 'a:7101',
  run: 'run-1',
};
const expected = {
  from: 'begin3',
  migrationId: origin.migrationId,
  domainUuid: origin.domainUuid,
  run: 'run-1',
  hostUuid: 'bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb',
} as const;
const [ours, theirs] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
const good = encodeCookie('begin3', origin, { capabilities: ['events'], paused: true }, 1_700_000_000_000, ours);

function kindOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof MigrationError) return error.kind;
    throw error;
  }
  return 'accepted';
}

/** A whole cookie with another proof. */
function withProof(envelope: CookieEnvelope, proof: Buffer): Uint8Array {
  const digest = createHash('sha256').update(envelope.content).update(proof).digest().subarray(0, 16);
  return CookieEnvelope.encode({ ...envelope, proof, digest }).finish();
}

describe('a cookie', () => {
  it('says what was put in', () => {
    expect(decodeCookie(good, expected)).toMatchObject({
      domainName: 'web-1',
      hostName: 'a',
      capabilities: ['events'],
      paused: true,
    });
  });

  it('is kept without the key that it carries, and given again with it', () => {
    const key = 'ab'.repeat(32);
    const whole = encodeCookie('prepare', origin, { memoryKey: key }, 0, ours);
    const kept = withoutMemoryKey(whole);
    expect(Buffer.from(kept).includes(key)).toBe(false);
    expect(
      restoreMemoryKey(kept, ({ migrationId, run }) =>
        migrationId === origin.migrationId && run === 'run-1' ? key : '',
      ),
    ).toEqual(whole);
    expect(withoutMemoryKey(good)).toEqual(good);
    expect(restoreMemoryKey(good, () => key)).toEqual(good);
    expect(withoutMemoryKey(new Uint8Array())).toEqual(new Uint8Array());
  });

  it('is refused when it is missing', () => {
    expect(kindOf(() => decodeCookie(new Uint8Array(), expected))).toBe('cookie-missing');
  });

  it('is refused when it is cut, wherever it is cut', () => {
    const kinds = Array.from({ length: good.length - 1 }, (_, i) =>
      kindOf(() => decodeCookie(good.subarray(0, i + 1), expected)),
    );
    expect(new Set(kinds)).toEqual(new Set(['cookie-damaged']));
  });

  it('is refused when a bit is flipped, whichever it is', () => {
    const kinds = new Set<string>();
    for (let bit = 0; bit < good.length * 8; bit += 1) {
      const flipped = Uint8Array.from(good);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      kinds.add(kindOf(() => decodeCookie(flipped, { ...expected, key: ours })));
    }
    // A bit of the version field makes it a newer one, all others show as damage. None is accepted.
    expect([...kinds].toSorted()).toEqual(['cookie-damaged', 'cookie-version']);
  });

  it('is refused when it has more bytes than libvirt allows', () => {
    expect(kindOf(() => decodeCookie(new Uint8Array(4 * 1024 * 1024 + 1), expected))).toBe('cookie-damaged');
  });

  it('is refused when a newer agent made it', () => {
    const newer = CookieEnvelope.encode({ ...CookieEnvelope.decode(good), version: 2 }).finish();
    expect(kindOf(() => decodeCookie(newer, expected))).toBe('cookie-version');
  });

  it('is refused by name when it requires a feature that is not known', () => {
    const act = (): unknown =>
      decodeCookie(encodeCookie('begin3', origin, { mandatoryFeatures: ['vote', 'time-travel'] }, 0), expected);
    expect(kindOf(act)).toBe('cookie-feature');
    expect(act).toThrow(/time-travel/);
  });

  it.each([
    ['another migration', { migrationId: '33333333-3333-4333-8333-333333333333' }],
    ['another domain', { domainUuid: '33333333-3333-4333-8333-333333333333' }],
    ['another phase', { from: 'prepare' }],
    ['another run of the id', { run: 'run-2' }],
  ] as const)('is refused when it is of %s', (_what, other) => {
    expect(kindOf(() => decodeCookie(good, { ...expected, ...other }))).toBe('cookie-foreign');
  });

  it('is refused when it was made with another key, or with none, by whoever expects one', () => {
    expect(kindOf(() => decodeCookie(good, { ...expected, key: ours }))).toBe('accepted');
    expect(kindOf(() => decodeCookie(good, { ...expected, key: theirs }))).toBe('cookie-forged');
    const unproven = encodeCookie('begin3', origin, {}, 0);
    expect(kindOf(() => decodeCookie(unproven, { ...expected, key: ours }))).toBe('cookie-forged');
    expect(kindOf(() => decodeCookie(unproven, expected))).toBe('accepted');
  });

  it('is refused when its content was put under the proof of another', () => {
    const other = CookieEnvelope.decode(encodeCookie('begin3', origin, { agentAddress: 'c:1' }, 0));
    const { proof } = CookieEnvelope.decode(good);
    const mixed = withProof(other, proof);
    expect(kindOf(() => decodeCookie(mixed, { ...expected, key: ours }))).toBe('cookie-forged');
  });

  it('of Begin is known again by its maker from what Prepare says of it', () => {
    const said = (begin: Uint8Array) =>
      decodeCookie(encodeCookie('prepare', origin, sealOf(begin), 0), { ...expected, from: 'prepare' });
    expect(wasGivenOurs(said(good), ours)).toBe(true);
    expect(wasGivenOurs(said(good), theirs)).toBe(false);
    expect(wasGivenOurs(said(encodeCookie('begin3', origin, {}, 0)), ours)).toBe(false);
    const altered = CookieEnvelope.decode(encodeCookie('begin3', origin, { domainXml: '<domain/>' }, 0));
    const { proof } = CookieEnvelope.decode(good);
    expect(wasGivenOurs(said(withProof(altered, proof)), ours)).toBe(false);
  });

  it('is refused by the host that made it', () => {
    expect(kindOf(() => decodeCookie(good, { ...expected, hostUuid: origin.hostUuid }))).toBe('same-host');
  });
});
