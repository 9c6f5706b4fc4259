import { expect, it } from '@jest/globals';
import { type HandoverEntry, HandoverError } from '@ferry/handover';
import { MigrationError } from '@ferry/migration';
import { Answer } from '@ferry/proto/ferry/v1/migration';
import { QmpError } from '@ferry/qemu-qmp';
import { type DestAgent, type HeldIn, newState } from './agent.ts';
import { answerSource } from './decision.ts';
import { recover } from './recover.ts';
import { giveGuest, startGuest } from './start.ts';

const never = new AbortController().signal;
const start = { migrationId: 'm', domainUuid: 'd', domainName: 'web-1', side: 'dest', protocol: 3 } as const;
const unreachable = new MigrationError('destination-unreachable', 'nobody listens at a:1');

interface Around {
  readonly status?: string;
  readonly alive?: boolean;
  /** What the register has recorded, and what it answers to an abort or a withdrawal. */
  readonly recorded?: string;
  readonly aborts?: string;
  readonly source?: Answer | Error;
  readonly voted?: boolean;
  readonly paused?: boolean;
}

/** A destination to which the guest has come, and for which nobody has called Finish. */
function world({
  status = 'paused',
  alive = true,
  recorded = 'none',
  aborts = 'aborted',
  source,
  voted,
  paused,
}: Around) {
  const done: string[] = [];
  /** What was done besides, and when: what had been done until then. */
  const noted: { readonly what: string; readonly after: readonly string[] }[] = [];
  const note = (what: string): void => void noted.push({ what, after: [...done] });
  const verdict = (what: string) => async () => done.push(what) && { decision: aborts, grant: '1', ran: true };
  const monitor = { execute: async () => ({ status }), closed: { aborted: !alive } };
  const incoming = { told: false, start: async () => done.push('cont'), [Symbol.dispose]: () => undefined };
  const state = Object.assign(newState(3, 'life-1', false, false, 'r'), {
    guest: { monitor },
    incoming,
    sourceAddress: 'a:1',
  });
  const held = { ongoing: { start }, state, phase: 'prepare' } as unknown as HeldIn;
  const agent = {
    config: { address: 'b:1', stateDir: '/state', host: { name: 'b' } },
    log: { warn: () => undefined },
    hypervisor: {
      isAlive: () => alive,
      end: async () => void done.push('ended'),
      collect: async () => [],
      settle: async () => undefined,
      places: async () => ['d'],
    },
    owners: { of: async () => undefined, claimDecided: async () => undefined },
    register: {
      incarnation: async () => 'life-1',
      look: async () => ({ decision: recorded }),
      abort: verdict('abort'),
      withdraw: verdict('withdraw'),
      giveBack: async () => note('given back'),
    },
    journals: {
      of: () => ({
        read: async () => undefined,
        write: async ({ decision }: HandoverEntry) => note(`journal ${decision}`),
      }),
    },
    migrations: { find: () => held, giveUp: async () => void done.push('gave up') },
    sourceAt: () => ({
      ask: async () => {
        done.push('asked');
        if (source instanceof Error) throw source;
        return { answer: source, voted, paused };
      },
    }),
  } as unknown as DestAgent;
  return { agent, held, done, noted };
}

it('keeps a whole copy whose source does not answer', async () => {
  const { agent, held, done } = world({ source: unreachable });
  await expect(recover(agent, held, never)).rejects.toBe(unreachable);
  expect(done).toEqual(['asked']);
  expect(held.state).toMatchObject({ whole: true, decision: undefined });
});

it('drops a whole copy that the source does not need, and one that the register says is not wanted', async () => {
  const told = world({ source: Answer.ANSWER_ABORTED });
  expect(await recover(told.agent, told.held, never)).toBe('failed');
  expect(told.done).toEqual(['asked', 'ended']);
  const undecided = world({ source: Answer.ANSWER_UNDECIDED });
  expect(await recover(undecided.agent, undecided.held, never)).toBe('failed');
  expect(undecided.done).toEqual(['asked', 'abort', 'ended']);
  const decided = world({ recorded: 'aborted', source: unreachable });
  expect(await recover(decided.agent, decided.held, never)).toBe('failed');
  expect(decided.done).toEqual(['abort', 'ended']);
});

it('starts a whole copy that is the only one: the register is bound', async () => {
  const { agent, held, done } = world({ recorded: 'undecided', aborts: 'committed', source: Answer.ANSWER_UNDECIDED });
  expect(await recover(agent, held, never)).toBe('completed');
  expect(done).toEqual(['asked', 'abort', 'cont']);
});

it('asks the source before it gives up a whole copy in a register that did not answer a moment ago', async () => {
  const ended = world({ source: Answer.ANSWER_SOURCE_ENDED });
  ended.agent.register.look = () => Promise.reject(new HandoverError('register-unavailable', 'Redis did not answer'));
  await expect(recover(ended.agent, ended.held, never)).rejects.toMatchObject({ kind: 'in-doubt' });
  expect(ended.done).toEqual(['asked']);
});

it('asks the source before it gives up a copy that a life before this one tried to commit', async () => {
  const { agent, held, done } = world({ source: unreachable });
  held.state.mayHaveCommitted = true;
  await expect(recover(agent, held, never)).rejects.toBe(unreachable);
  expect(done).toEqual(['asked']);
});

it('drops without a question what is not whole', async () => {
  const { agent, held, done } = world({ status: 'inmigrate', source: unreachable });
  expect(await recover(agent, held, never)).toBe('failed');
  expect(done).toEqual(['ended', 'abort']);
});

it('withdraws the commit of a QEMU that has ended before it was told to start the guest', async () => {
  const { agent, held, done } = world({ alive: false });
  Object.assign(held.state, { mayHaveCommitted: true, decision: 'committed', grant: '1' });
  const ask = () => answerSource(agent, { ...start, domain: 'd', incarnation: 'life-0', askerAddress: 'a:1' }, never);
  // Nobody ends another copy for a commit that is about to be withdrawn.
  expect(await ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  await expect(startGuest(agent, held, never)).rejects.toMatchObject({ kind: 'incoming-failed' });
  expect(done).toEqual(['withdraw']);
  expect(held.state.decision).toBe('aborted');
  expect(await recover(agent, held, never)).toBe('failed');
});

it('withdraws the commit of a paused guest whose QEMU has ended before it was given to its user', async () => {
  const { agent, held, done } = world({ alive: false });
  Object.assign(held.state, { mayHaveCommitted: true, decision: 'committed', grant: '1', paused: true });
  const ask = () => answerSource(agent, { ...start, domain: 'd', incarnation: 'life-0', askerAddress: 'a:1' }, never);
  expect(await ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  await expect(giveGuest(agent, held, never)).rejects.toMatchObject({ kind: 'incoming-failed' });
  expect(done).toEqual(['withdraw']);
  expect(await recover(agent, held, never)).toBe('failed');
});

it('keeps the commit of a paused guest that was given to its user', async () => {
  const { agent, held, done } = world({});
  Object.assign(held.state, { mayHaveCommitted: true, decision: 'committed', grant: '1', paused: true });
  const ask = () => answerSource(agent, { ...start, domain: 'd', incarnation: 'life-0', askerAddress: 'a:1' }, never);
  expect(await ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  await giveGuest(agent, held, never);
  expect(await ask()).toEqual({ answer: Answer.ANSWER_COMMITTED });
  expect(await recover(agent, held, never)).toBe('completed');
  expect(done).toEqual([]);
});

it('owes what it was granted and does not act on until Redis has recorded that the guest is given back', async () => {
  const { agent, held, done } = world({ recorded: 'committed', source: Answer.ANSWER_ABORTED });
  Object.assign(held.state, { mayHaveCommitted: true, doneWithRegister: true });
  const silent = new HandoverError('register-unavailable', 'Redis did not answer');
  const answers = [silent, silent, undefined];
  agent.register.giveBack = async () => {
    const error = answers.shift();
    done.push('gave back');
    if (error !== undefined) throw error;
  };
  await expect(recover(agent, held, never)).rejects.toBe(silent);
  await expect(recover(agent, held, never)).rejects.toBe(silent);
  expect(await recover(agent, held, never)).toBe('failed');
  expect(done.filter((each) => each === 'gave back')).toHaveLength(3);
  expect(done.filter((each) => each === 'asked')).toHaveLength(1);
});

it('writes down that it drops its copy before its QEMU ends, and gives the guest back in the record', async () => {
  const { agent, held, noted } = world({ recorded: 'aborted', source: unreachable });
  expect(await recover(agent, held, never)).toBe('failed');
  expect(noted).toEqual([
    { what: 'journal aborted', after: ['abort'] },
    { what: 'given back', after: ['abort', 'ended'] },
  ]);
});

it('withdraws a commit that QEMU refuses to act on, and not that of a guest that has gone on here and is paused since', async () => {
  const refusal = new QmpError('qemu-refused', 'Failed to get "write" lock');
  const refused = (started: boolean) => {
    const { agent, held, done } = world({});
    Object.assign(held.state, { mayHaveCommitted: true, decision: 'committed', grant: '1', started });
    Object.assign(held.state.incoming ?? {}, { start: () => Promise.reject(refusal) });
    return { starting: startGuest(agent, held, never), held, done };
  };
  const first = refused(false);
  await expect(first.starting).rejects.toBe(refusal);
  expect(first.done).toEqual(['withdraw']);
  const again = refused(true);
  await expect(again.starting).rejects.toBe(refusal);
  expect(again.done).toEqual([]);
  expect(again.held.state.decision).toBe('committed');
});

it('goes on with the only copy: the source says that it has voted and that its own has ended', async () => {
  const { agent, held, done } = world({ source: Answer.ANSWER_SOURCE_ENDED, voted: true });
  expect(await recover(agent, held, never)).toBe('completed');
  expect(done).toEqual(['asked', 'cont']);
  const paused = world({ source: Answer.ANSWER_SOURCE_ENDED, voted: true, paused: true });
  expect(await recover(paused.agent, paused.held, never)).toBe('completed');
  expect(paused.done).toEqual(['asked']);
  const seen = world({ source: Answer.ANSWER_SOURCE_ENDED });
  seen.held.state.voteSeen = true;
  expect(await recover(seen.agent, seen.held, never)).toBe('completed');
});

it('neither goes on with a whole copy nor ends it where nobody knows of a vote and the source’s has ended', async () => {
  const { agent, held, done } = world({ source: Answer.ANSWER_SOURCE_ENDED });
  await expect(recover(agent, held, never)).rejects.toMatchObject({ kind: 'in-doubt' });
  expect(done).toEqual(['asked']);
  const gone = world({ source: Answer.ANSWER_SOURCE_ENDED, alive: false });
  Object.assign(gone.held.state, { mayHaveCommitted: true, doneWithRegister: true });
  expect(await recover(gone.agent, gone.held, never)).toBe('failed');
});

it('pledges nothing to a source whose copy has ended, and goes on by its vote', async () => {
  const { agent, held, done } = world({});
  const question = { ...start, domain: 'd', incarnation: 'life-1', askerAddress: 'a:1', copyEnded: true };
  expect(await answerSource(agent, question, never)).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  expect(done).toEqual([]);
  expect(await answerSource(agent, { ...question, voted: true }, never)).toEqual({ answer: Answer.ANSWER_UNDECIDED });
  expect([...held.state.promised]).toEqual([]);
  expect(done).toEqual(['gave up']);
  expect(await recover(agent, held, never)).toBe('completed');
  expect(done).toEqual(['gave up', 'cont']);
});
