import { expect, it } from '@jest/globals';
import { Answer } from '@ferry/proto/ferry/v1/migration';
import { type HeldOut, newState, type SourceAgent } from './agent.ts';
import { recover } from './recover.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'source', protocol: 3 } as const;

/** A new life of the agent that finds no journal: its QEMU has sent the guest, and the register would say "aborted". */
function world() {
  const done: string[] = [];
  const monitor = {
    execute: async (command: string) => {
      if (command === 'cont') done.push('resumed');
      return command === 'query-status' ? { status: 'postmigrate' } : { status: 'completed' };
    },
  };
  const state = { ...newState(3, true, 'life-1', 'run-1'), recalled: 'unread' as const };
  const held: unknown = { ongoing: { start }, state, phase: 'perform3-done', job: {}, bookkeeping: Promise.resolve() };
  const agent = {
    config: { address: 'a:1', stateDir: '/state', host: { name: 'a', uuid: 'host-a' } },
    log: { warn: () => undefined, info: () => undefined },
    jobs: { migrationJobSetPhase: async () => undefined },
    hypervisor: {
      isAlive: () => true,
      places: async () => ['d'],
      guest: async () => ({ monitor, process: { pid: 1 } }),
      end: async () => void done.push('ended'),
    },
    owners: { claimDecided: async () => undefined },
    register: {
      renew: async () => ({ source: 'a:1', dest: 'b:1' }),
      abort: async () => done.push('register asked') && { decision: 'aborted' },
    },
    journals: { of: () => ({ read: async () => undefined, write: async () => undefined }) },
    migrations: { assertSoon: () => undefined },
    destinationAt: () => ({
      ask: async () => done.push('destination asked') && { answer: Answer.ANSWER_COMMITTED },
    }),
  } as unknown as SourceAgent;
  return { agent, held: held as HeldOut, done };
}

it('takes no guest back that was sent, although the journal is lost, but asks the destination and not the register', async () => {
  const { agent, held, done } = world();
  expect(await recover(agent, held, never)).toBe('completed');
  expect(done).toEqual(['destination asked', 'ended']);
});
