import { expect, it } from '@jest/globals';
import type { HandoverEntry } from '@ferry/handover';
import { runKeysOf } from '@ferry/agent';
import { encodeCookie, MigrationError } from '@ferry/migration';
import { Answer, Protocol } from '@ferry/proto/ferry/v1/migration';
import { type DestAgent, type HeldIn, newState } from './agent.ts';
import { answerSource } from './decision.ts';
import { finish } from './finish.ts';
import { checkReady } from './ready.ts';

const never = new AbortController().signal;
const migrationId = '11111111-1111-4111-8111-111111111111';
const domainUuid = '22222222-2222-4222-8222-222222222222';
const start = { migrationId, domainUuid, domainName: 'web-1', side: 'dest', protocol: 3 } as const;
const source = {
  migrationId,
  domainUuid,
  domainName: 'web-1',
  hostName: 'a',
  hostUuid: 'host-a',
  agentAddress: 'a:1',
  run: 'run-1',
};

const runKeys = runKeysOf(Buffer.from('b'));

/** A destination whose guest is loaded; the register's answer to its commit is the test's to give. */
function world({ runState = 'paused', paused = false, alive = true } = {}) {
  const answer = Promise.withResolvers<'committed' | 'aborted'>();
  const asked = Promise.withResolvers<undefined>();
  const written: HandoverEntry[] = [];
  const done: string[] = [];
  const monitor = { execute: async () => ({ status: runState }), closed: { aborted: false } };
  const failed = alive
    ? new Promise(() => undefined)
    : Promise.reject(new MigrationError('incoming-failed', 'QEMU ended'));
  failed.catch(() => undefined);
  const incoming = {
    told: false,
    receiving: true,
    loaded: async () => 1,
    runState: Promise.resolve(runState),
    failed,
    start: async () => done.push('cont'),
  };
  const state = newState(3, 'life-1', paused, false, 'run-1');
  Object.assign(state, { guest: { monitor, process: { pid: 1 } }, incoming, sourceAddress: 'a:1' });
  const ongoing = { start, switchover: () => undefined };
  const held = { ongoing, state, phase: 'prepare', job: { signal: never } } as unknown as HeldIn;
  const register = {
    join: async () => ({ source: 'a:1', dest: 'b:1' }),
    commit: async () => {
      done.push('commit asked');
      asked.resolve(undefined);
      return { decision: await answer.promise, grant: '1', ran: !paused };
    },
  };
  const agent = {
    config: { address: 'b:1', host: { name: 'b', uuid: 'host-b' }, idleMs: 1_000 },
    hypervisor: {
      isAlive: () => alive,
      settle: async () => void done.push('settled'),
      forgetEncryption: async () => undefined,
    },
    ongoing: { find: () => ({ start }) },
    register,
    runKeys,
    gate: { open: () => undefined, close: () => undefined },
    journals: { of: () => ({ read: async () => written.at(-1), write: async (e: HandoverEntry) => written.push(e) }) },
    migrations: {
      find: () => held,
      step: (_d: string, _m: string, { body }: { body: (h: HeldIn, s: AbortSignal) => unknown }) => body(held, never),
    },
  } as unknown as DestAgent;
  const cookie = encodeCookie('perform3', source, { vote: { incarnation: 'life-1' }, paused }, Date.now());
  const names = { migrationId, domain: domainUuid };
  return {
    agent,
    held,
    done,
    written,
    registerSays: answer.resolve,
    registerAsked: asked.promise,
    finish: () =>
      finish(
        agent,
        { ...names, protocol: Protocol.PROTOCOL_V3, cookieIn: Buffer.from(cookie), cancelled: false },
        never,
      ),
    ask: () => answerSource(agent, { ...names, incarnation: 'life-1', askerAddress: 'a:1' }, never),
    checkReady: (incarnation: string) =>
      checkReady(
        agent,
        { ...names, incarnation, askerAddress: 'a:1', streamOnly: false, askerHost: 'a', run: 'run-1' },
        never,
      ),
  };
}

it('does not act on a commit whose answer comes after the source was given a promise', async () => {
  const { ask, done, finish: finishing, registerSays, registerAsked } = world();
  const refused = expect(finishing()).rejects.toMatchObject({ kind: 'not-migrating' });
  await Promise.race([registerAsked, refused]);
  expect(await ask()).toEqual({ answer: Answer.ANSWER_PROMISED });
  registerSays('committed');
  await refused;
  expect(done).toEqual(['commit asked']);
});

it('writes down that it has taken over a guest that stays paused before anybody is told of it', async () => {
  const { done, written, finish: finishing, registerSays } = world({ paused: true });
  registerSays('committed');
  await finishing();
  expect(done).toEqual(['commit asked', 'settled']);
  expect(written.at(-1)?.decision).toBe('committed');
});

it('does not start a guest that had shut down before it came', async () => {
  const { done, finish: finishing, registerSays } = world({ runState: 'shutdown' });
  registerSays('committed');
  await finishing();
  expect(done).toEqual(['commit asked', 'settled']);
});

it('tells the source nothing of its commit while QEMU may still refuse to start the guest', async () => {
  const { ask, held } = world();
  held.state.decision = 'committed';
  expect(await ask()).toEqual({ answer: Answer.ANSWER_UNDECIDED });
});

it('has written down which life of the register it follows when it says that it is ready', async () => {
  const { written, checkReady: asking } = world();
  expect(await asking('life-2')).toMatchObject({ receiving: true });
  expect(written.at(-1)?.incarnation).toBe('life-2');
});

it('does not ask for the commit of a QEMU that has ended since it loaded the guest', async () => {
  const { done, finish: finishing, registerSays } = world({ alive: false });
  registerSays('committed');
  await expect(finishing()).rejects.toMatchObject({ kind: 'incoming-failed' });
  expect(done).toEqual([]);
});
