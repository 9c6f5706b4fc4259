import { expect, it } from '@jest/globals';
import { HandoverError, type HandoverEntry } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import { systemClock } from '@ferry/jobs';
import { Answer } from '@ferry/proto/ferry/v1/migration';
import { type HeldOut, newState, type SourceAgent } from './agent.ts';
import { decide, resumeGuest } from './decision.ts';
import { Readiness } from './readiness.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'source', protocol: 3 } as const;
const changed = new HandoverError('register-changed', 'Redis lives anew');
const gone = new HypervisorError('domain-not-found', 'its QEMU has ended');

/** A source that has sent its guest and voted; the register that it voted in is another one by now. */
function world({ isGone = false, owner = 'a' } = {}) {
  const done: string[] = [];
  const written: HandoverEntry[] = [];
  const note = (what: string) => done.push(`${what}, journaled: ${written.at(-1)?.asking === true ? 'asking' : '-'}`);
  const monitor = {
    execute: async (command: string) => {
      if (command === 'cont') done.push('cont');
      return command === 'query-status' ? { status: 'postmigrate' } : {};
    },
  };
  const state = Object.assign(newState(3, true, 'life-1', 'run-1'), { voted: true, destinationAddress: 'b:1' });
  const held = { ongoing: { start, hold: () => undefined }, state, phase: 'perform3-done' } as unknown as HeldOut;
  Object.assign(held, { job: { signal: never } });
  const claim = async () => {
    if (owner !== 'a') throw new HandoverError('owned-elsewhere', `the guest belongs to host ${owner}`);
  };
  const agent = {
    config: { address: 'a:1', host: { name: 'a', uuid: 'host-a' }, holdMs: 1_000 },
    log: { warn: () => undefined, info: () => undefined, error: () => undefined },
    clock: systemClock,
    hypervisor: {
      isAlive: () => true,
      guest: async () => {
        if (isGone) throw gone;
        return { monitor };
      },
    },
    owners: { claimDecided: claim },
    register: {
      incarnation: async () => 'life-2',
      abort: () => Promise.reject(changed),
      renew: () => Promise.reject(changed),
      begin: async () => done.push('begun anew'),
      bind: async () => done.push('bound'),
    },
    journals: {
      of: () => ({ read: async () => written.at(-1), write: async (entry: HandoverEntry) => void written.push(entry) }),
    },
    migrations: { find: () => held, assertSoon: () => undefined, assertNow: async () => undefined },
    destinationAt: () => ({
      ask: async () => note('asked') && { answer: Answer.ANSWER_PROMISED },
      finish: async () => done.push('finish'),
      checkReady: async () => ({ receiving: true, host: 'b', cookieKey: Buffer.alloc(32) }),
    }),
  } as unknown as SourceAgent;
  return { agent, held, done, written, monitor };
}

it('writes down that it is done with the register before it asks the destination', async () => {
  const { agent, held, done, written } = world();
  expect(await decide(agent, held, never)).toBe('aborted');
  expect(done).toEqual(['asked, journaled: asking']);
  expect(written.at(-1)).toMatchObject({ asking: true, decision: 'aborted' });
});

it('binds the register before it hands a guest over whose copy here has ended', async () => {
  const { agent, held, done } = world({ isGone: true });
  await decide(agent, held, never);
  expect(done.slice(0, 2)).toEqual(['bound', 'finish']);
});

it('claims the guest before it resumes a copy that was sent, and does not where another host owns it', async () => {
  const own = world();
  await resumeGuest(own.agent, own.held, never);
  expect(own.done).toEqual(['cont']);
  const foreign = world({ owner: 'c' });
  await expect(resumeGuest(foreign.agent, foreign.held, never)).rejects.toMatchObject({ kind: 'owned-elsewhere' });
  expect(foreign.done).toEqual([]);
});

it('has written down in which life of the register it begins anew', async () => {
  const { agent, held, done, written, monitor } = world();
  const limits = { bandwidthBytesPerSecond: 1e9, downtimeLimitMs: 300 };
  const args = [agent, held, monitor, limits] as unknown as ConstructorParameters<typeof Readiness>;
  await new Readiness(...args).check(never);
  expect(done).toEqual(['begun anew']);
  expect(held.state.incarnation).toBe('life-2');
  expect(written.at(-1)?.incarnation).toBe('life-2');
});
