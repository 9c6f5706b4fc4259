import { describe, expect, it } from '@jest/globals';
import { capabilitiesToSet, limitsOf } from './options.ts';

describe('limits', () => {
  it('suit a 10 Gb/s network when nothing is said', () => {
    expect(limitsOf(undefined)).toEqual({ bandwidthBytesPerSecond: 1_250_000_000, downtimeLimitMs: 300 });
  });

  it('are what the caller says', () => {
    expect(limitsOf({ bandwidthBytesPerSecond: 1_000_000n, downtimeLimitMs: 50 })).toEqual({
      bandwidthBytesPerSecond: 1_000_000,
      downtimeLimitMs: 50,
    });
  });

  it.each([
    { bandwidthBytesPerSecond: -1n, downtimeLimitMs: 0 },
    { bandwidthBytesPerSecond: 2n ** 60n, downtimeLimitMs: 0 },
    { bandwidthBytesPerSecond: 0n, downtimeLimitMs: 2_000_001 },
  ])('out of range are refused: %o', (options) => {
    expect(() => limitsOf(options)).toThrow(expect.objectContaining({ kind: 'invalid-request' }));
  });
});

describe('capabilities', () => {
  const off = (...names: string[]) => names.map((capability) => ({ capability, state: false }));

  it('that are ours are switched on, and what an earlier try left on is switched off', () => {
    const left = { capability: 'xbzrle', state: true };
    const on = { capability: 'return-path', state: true };
    const set = capabilitiesToSet('source', [
      left,
      on,
      ...off('events', 'pause-before-switchover', 'multifd', 'made-up'),
    ]);
    expect(Object.fromEntries(set.map((c) => [c.capability, c.state]))).toEqual({
      xbzrle: false,
      events: true,
      'pause-before-switchover': true,
    });
  });

  it('that are needed and missing are named', () => {
    expect(() => capabilitiesToSet('source', off('events'))).toThrow(/return-path, pause-before-switchover/);
  });
});
