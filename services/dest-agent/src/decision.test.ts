import { expect, it } from '@jest/globals';
import type { HandoverEntry } from '@ferry/handover';
import { Answer } from '@ferry/proto/ferry/v1/migration';
import { type DestAgent, type HeldIn, newState } from './agent.ts';
import { answerSource, decide } from './decision.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'dest', protocol: 3 } as const;

/** A destination that asks a register whose answer the test gives, and a source that has decided. */
function world(sourceSays: Answer) {
  const registerAnswer = Promise.withResolvers<'committed' | 'aborted'>();
  const registerAsked = Promise.withResolvers<undefined>();
  const written: HandoverEntry[] = [];
  const held = { ongoing: { start }, state: newState(3, 'life-1', false, true, 'r') } as unknown as HeldIn;
  held.state.sourceAddress = 'a:1';
  const agent = {
    config: { address: 'b:1' },
    register: {
      abort: async () => {
        registerAsked.resolve(undefined);
        return { decision: await registerAnswer.promise, grant: '1' };
      },
    },
    journals: {
      of: () => ({
        read: async () => written.at(-1),
        write: async (entry: HandoverEntry) => void written.push(entry),
      }),
    },
    migrations: { find: () => held },
    sourceAt: () => ({ ask: async () => ({ answer: sourceSays }) }),
  } as unknown as DestAgent;
  const ask = () =>
    answerSource(agent, { migrationId: 'm', domain: 'd', incarnation: 'life-1', askerAddress: 'a:1' }, never);
  return { agent, held, ask, written, registerSays: registerAnswer.resolve, registerAsked: registerAsked.promise };
}

it('does not believe the register that it committed, if it has given its promise while it asked', async () => {
  const { agent, held, ask, written, registerSays, registerAsked } = world(Answer.ANSWER_ABORTED);
  const deciding = decide(agent, held, never);
  await registerAsked;
  expect(await ask()).toEqual({ answer: Answer.ANSWER_PROMISED });
  expect(written.at(-1)?.promised).toEqual(['life-1']);
  // An answer to an earlier commit, which arrives late.
  registerSays('committed');
  expect(await deciding).toBe('aborted');
});

it('promises nothing where an earlier life may have let the guest go on, and its QEMU is not there to show', async () => {
  const { held, ask, written } = world(Answer.ANSWER_ABORTED);
  held.state.revived = true;
  expect(await ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  expect(written).toEqual([]);
  held.state.mayHaveCommitted = false;
  expect(await ask()).toEqual({ answer: Answer.ANSWER_PROMISED });
});

it('believes the register where nothing was promised, and says so to the source', async () => {
  const { agent, held, ask, registerSays } = world(Answer.ANSWER_ABORTED);
  registerSays('committed');
  expect(await decide(agent, held, never)).toBe('committed');
  expect(await ask()).toEqual({ answer: Answer.ANSWER_COMMITTED });
});
