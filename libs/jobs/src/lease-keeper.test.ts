import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { LeaseKeeper } from './lease-keeper.ts';
import { VirtualClock } from './testing/virtual-clock.ts';

/** Redis as the keeper meets it: a lease that runs out by its own clock, and replies that come when the test says. */
function leaseOf(leaseMs: number, answer: (attempt: number) => 'ok' | 'refuse' | 'hang' | 'slow') {
  const clock = new VirtualClock();
  let [expiresAt, attempts] = [leaseMs, 0];
  const keeper = new LeaseKeeper({
    clock,
    leaseMs,
    sentAt: 0,
    what: 'a test',
    renew: () => {
      const how = answer(attempts++);
      if (how === 'refuse') return Promise.reject(new Error('refused'));
      if (how === 'hang') return new Promise(() => {});
      const renewed = clock.monotonic() < expiresAt;
      if (renewed) expiresAt = clock.monotonic() + leaseMs;
      if (how === 'ok') return Promise.resolve(renewed);
      const { promise, resolve } = Promise.withResolvers<boolean>();
      clock.after(leaseMs / 4, () => resolve(renewed));
      return promise;
    },
  });
  return {
    clock,
    keeper,
    attempts: () => attempts,
    alive: () => clock.monotonic() < expiresAt,
    forget: () => void (expiresAt = 0),
  };
}

describe('a lease keeper', () => {
  it('keeps a lease for as long as Redis answers', async () => {
    const { clock, keeper, alive } = leaseOf(9000, () => 'ok');
    await clock.advance(3_600_000);
    expect(keeper.signal.aborted).toBe(false);
    expect(alive()).toBe(true);
    keeper[Symbol.dispose]();
    expect(clock.nextIn).toBeUndefined();
  });

  it('tells its holder before the lease can have expired when renewals are refused', async () => {
    const { clock, keeper, alive, attempts } = leaseOf(9000, () => 'refuse');
    let aliveWhenTold: boolean | undefined;
    keeper.signal.addEventListener('abort', () => (aliveWhenTold = alive()));
    await clock.advance(8000);
    expect(keeper.signal.aborted).toBe(false);
    expect(attempts()).toBeGreaterThan(3);
    await clock.advance(200);
    expect(keeper.signal.reason).toMatchObject({ kind: 'lease-lost', message: expect.stringContaining('a test') });
    expect(aliveWhenTold).toBe(true);
    expect(clock.nextIn).toBeUndefined();
  });

  it('does so when a renewal merely hangs', async () => {
    const { clock, keeper, alive } = leaseOf(9000, () => 'hang');
    await clock.advance(8100);
    expect(keeper.signal.aborted).toBe(true);
    expect(alive()).toBe(true);
  });

  it('counts from the sending of a renewal, not from its reply', async () => {
    const { clock, keeper } = leaseOf(8000, (attempt) => (attempt === 0 ? 'slow' : 'hang'));
    await clock.advance(8000 / 3 + 7199);
    expect(keeper.signal.aborted).toBe(false);
    await clock.advance(1);
    expect(keeper.signal.aborted).toBe(true);
  });

  it('notices, when asked, that the process stood still for too long', () => {
    const { clock, keeper } = leaseOf(9000, () => 'ok');
    keeper.check();
    clock.stall(8100);
    expect(keeper.signal.aborted).toBe(false);
    expect(() => keeper.check()).toThrow(/could not be renewed in time/);
    expect(keeper.signal.aborted).toBe(true);
  });

  it('ends at once when Redis says that the lease is not ours', async () => {
    const { clock, keeper, forget } = leaseOf(9000, () => 'ok');
    forget();
    await clock.advance(3000);
    expect(keeper.signal.reason).toMatchObject({ kind: 'lease-lost', message: expect.stringContaining('forgotten') });
  });

  it('never says that it holds a lease that has expired, whatever Redis does', async () => {
    const answers = fc.array(fc.constantFrom('ok', 'ok', 'refuse', 'hang', 'slow'), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(
        answers,
        fc.array(fc.integer({ min: 1, max: 5000 }), { maxLength: 30 }),
        async (given, steps) => {
          const { clock, keeper, alive } = leaseOf(9000, (attempt) => given[attempt] ?? 'hang');
          for (const ms of steps) {
            await clock.advance(ms);
            expect(keeper.signal.aborted || alive()).toBe(true);
          }
          keeper[Symbol.dispose]();
        },
      ),
    );
  });
});
