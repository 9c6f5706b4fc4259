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
  it('are ours on and all others off, whatever an earlier try left', () => {
    const set = capabilitiesToSet('source', ['xbzrle', 'events', 'return-path', 'pause-before-switchover', 'made-up']);
    expect(Object.fromEntries(set.map((c) => [c.capability, c.state]))).toEqual({
      xbzrle: false,
      events: true,
      'return-path': true,
      'pause-before-switchover': true,
    });
  });

  it('that are needed and missing are named', () => {
    expect(() => capabilitiesToSet('source', ['events'])).toThrow(/return-path, pause-before-switchover/);
  });
});
