import { expect, it } from '@jest/globals';
import { HandoverError } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import { Answer, type AskRequest } from '@ferry/proto/ferry/v1/migration';
import { type HeldOut, newState, type SourceAgent } from './agent.ts';
import { answerDestination, decide } from './decision.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'source', protocol: 3 } as const;

interface Around {
  /** What the journal of the life before says of the vote. */
  readonly sent: boolean;
  /** What the register has recorded. */
  readonly recorded?: 'none' | 'undecided' | 'aborted';
  readonly isChanged?: boolean;
  readonly answer?: Answer;
}

/** A source whose host has rebooted during Perform: its QEMU is not there any more, and Redis has not recorded that Perform was done. */
function world({ sent, recorded = 'none', isChanged = false, answer = Answer.ANSWER_UNDECIDED }: Around) {
  const done: string[] = [];
  const questions: AskRequest[] = [];
  const state = newState(3, true, 'life-1', 'run-1');
  Object.assign(state, { voted: true, sent, destinationAddress: 'b:1', recalled: 'journaled' });
  const held = { ongoing: { start }, state, phase: 'perform3' } as unknown as HeldOut;
  const ifSame = async <T>(value: T): Promise<T> => {
    if (isChanged) throw new HandoverError('register-changed', 'Redis lives anew');
    return value;
  };
  const agent = {
    config: { address: 'a:1', stateDir: '/state', host: { name: 'a', uuid: 'u' } },
    clock: { monotonic: () => 0 },
    hypervisor: {
      guest: () => Promise.reject(new HypervisorError('domain-not-found', 'no such domain')),
      isAlive: () => false,
    },
    register: {
      look: async () => ({ decision: recorded, incarnation: recorded === 'none' ? '' : 'life-1' }),
      bind: () => done.push('bound') && ifSame(undefined),
      abort: () => done.push('abort') && ifSame({ decision: recorded === 'aborted' ? 'aborted' : 'committed' }),
    },
    journals: { of: () => ({ read: async () => undefined, write: async () => undefined }) },
    ongoing: { find: () => undefined },
    migrations: { find: () => held, assertSoon: () => undefined, assertNow: async () => undefined },
    destinationAt: () => ({
      finish: async () => void done.push('finish'),
      ask: async (question: AskRequest) => {
        done.push('asked');
        questions.push(question);
        return { answer };
      },
    }),
  } as unknown as SourceAgent;
  return { agent, held, done, questions };
}

it('does not abort where it may have voted: the destination is told that this copy has ended', async () => {
  const { agent, held, done, questions } = world({ sent: false });
  await expect(decide(agent, held, never)).rejects.toMatchObject({ kind: 'other-undecided' });
  expect(done).toEqual(['asked']);
  expect(questions).toMatchObject([{ copyEnded: true, voted: false }]);
  expect(
    await answerDestination(agent, { ...start, domain: 'd', incarnation: 'life-1', askerAddress: 'b:1' }, never),
  ).toEqual({ answer: Answer.ANSWER_SOURCE_ENDED, voted: false, paused: false });
  const dropped = world({ sent: false, answer: Answer.ANSWER_ABORTED });
  expect(await decide(dropped.agent, dropped.held, never)).toBe('aborted');
  const over = world({ sent: false, answer: Answer.ANSWER_COMMITTED });
  expect(await decide(over.agent, over.held, never)).toBe('committed');
});

it('goes by the register where that has recorded the vote or a decision', async () => {
  const voted = world({ sent: false, recorded: 'undecided' });
  expect(await decide(voted.agent, voted.held, never)).toBe('committed');
  expect(voted.done).toEqual(['bound', 'finish', 'abort']);
  const aborted = world({ sent: false, recorded: 'aborted' });
  expect(await decide(aborted.agent, aborted.held, never)).toBe('aborted');
  expect(aborted.done).toEqual(['abort']);
});

it('hands the guest over where the journal says that it was sent, and asks for no pledge in a register that has changed', async () => {
  const sent = world({ sent: true });
  expect(await decide(sent.agent, sent.held, never)).toBe('committed');
  expect(sent.done).toEqual(['bound', 'finish', 'abort']);
  const changed = world({ sent: true, isChanged: true });
  await expect(decide(changed.agent, changed.held, never)).rejects.toMatchObject({ kind: 'other-undecided' });
  expect(changed.questions).toMatchObject([{ copyEnded: true, voted: true }]);
});
