import { expect, it } from '@jest/globals';
import { HandoverError, type HandoverEntry } from '@ferry/handover';
import { Answer } from '@ferry/proto/ferry/v1/migration';
import { type DestAgent, type HeldIn, newState } from './agent.ts';
import { answerSource, decide } from './decision.ts';
import { recall } from './recall.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'dest', protocol: 3 } as const;

/** A new life of the agent: what its journal gives, the run state of the QEMU that it finds, and what has been answered to Prepare. */
function world(read: () => Promise<HandoverEntry | undefined>, status?: string, prepared = true) {
  const asked: string[] = [];
  const monitor = { execute: async () => ({ status }), closed: { aborted: false } };
  const state = { ...newState(3, 'life-1', false, false, 'r'), revived: true, recalled: 'unread' as const };
  if (status !== undefined) Object.assign(state, { guest: { monitor } });
  const held = { ongoing: { start }, state, phase: 'prepare' } as unknown as HeldIn;
  const agent = {
    config: { address: 'b:1', stateDir: '/state' },
    hypervisor: { isAlive: () => true },
    jobs: { replyOf: async () => (prepared ? Buffer.alloc(0) : undefined) },
    register: {
      renew: async () => ({ source: 'a:1', dest: 'b:1' }),
      abort: async () => asked.push('register') && { decision: 'committed', grant: '1' },
    },
    journals: { of: () => ({ read, write: async () => undefined }) },
    migrations: { find: () => held },
    sourceAt: (address: string) => ({
      ask: async () => asked.push(address) && { answer: Answer.ANSWER_ABORTED },
    }),
  } as unknown as DestAgent;
  const ask = () =>
    answerSource(agent, { migrationId: 'm', domain: 'd', incarnation: 'life-0', askerAddress: 'a:1' }, never);
  return { agent, held, asked, ask };
}

const none = () => Promise.resolve(undefined);
const damaged = () => Promise.reject(new HandoverError('journal-damaged', 'it is empty'));
const unreadable = () => Promise.reject(new HandoverError('journal-unreadable', 'EIO'));

it.each([
  ['missing', none],
  ['damaged', damaged],
])('asks the source and not the register where a guest came whole and the journal is %s', async (_what, read) => {
  const { agent, held, asked } = world(read, 'paused');
  expect(await decide(agent, held, never)).toBe('aborted');
  expect(asked).toEqual(['a:1']);
  expect(held.state).toMatchObject({ mayHaveCommitted: true, recalled: 'lost' });
});

it('decides and promises nothing while the journal cannot be read', async () => {
  const { agent, held, asked, ask } = world(unreadable, 'paused');
  await expect(decide(agent, held, never)).rejects.toMatchObject({ kind: 'journal-unreadable' });
  expect(await ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  expect(asked).toEqual([]);
  expect(held.state.decision).toBeUndefined();
});

it('knows that nothing was committed where no guest has come', async () => {
  const { agent, held } = world(none, 'inmigrate');
  await recall(agent, held, never);
  expect(held.state).toMatchObject({ mayHaveCommitted: false, recalled: 'journaled' });
  const early = world(none, undefined, false);
  await recall(early.agent, early.held, never);
  expect(early.held.state.mayHaveCommitted).toBe(false);
  const late = world(none, undefined, true);
  await recall(late.agent, late.held, never);
  expect(late.held.state.mayHaveCommitted).toBe(true);
});

it('promises for the life of the register that it follows, too, and not where its user’s paused guest may be committed', async () => {
  const running = world(none, 'paused');
  await recall(running.agent, running.held, never);
  expect(await running.ask()).toEqual({ answer: Answer.ANSWER_PROMISED });
  expect([...running.held.state.promised]).toEqual(['life-0', 'life-1']);
  const paused = world(none, 'paused');
  paused.held.state.paused = true;
  await recall(paused.agent, paused.held, never);
  expect(await paused.ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
});
