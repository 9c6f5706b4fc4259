/** Whether the register knows both sides before the guest is stopped: the real scripts in a real Redis, of which the record may be lost at any time. */
import { randomUUID } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { handoverOf } from '@ferry/agent';
import { HandoverRegister } from '@ferry/handover';
import { type PrivateRedis, startRedis } from '@ferry/jobs/testing';
import { limitsOf } from '@ferry/migration';
import type { Monitor } from '@ferry/qemu-qmp';
import { type HeldOut, newState, type SourceAgent } from './agent.ts';
import { Readiness } from './readiness.ts';

const never = new AbortController().signal;

/** A source that has begun, in `server`, and whose QEMU sends. */
async function sending(server: PrivateRedis) {
  const redis = server.client();
  const register = new HandoverRegister({ redis, host: 'a', side: 'source', address: 'a:1' });
  const dest = new HandoverRegister({ redis, host: 'b', side: 'dest', address: 'b:1' });
  const start = { migrationId: randomUUID(), domainUuid: randomUUID(), domainName: 'web-1', protocol: 3 };
  const held = {
    ongoing: { start, hold: () => undefined },
    state: newState(3, true, await register.incarnation(never), 'run-1'),
    job: { signal: never },
    phase: 'perform3',
  } as unknown as HeldOut;
  held.state.destinationAddress = 'b:1';
  const journaled: string[] = [];
  const agent = {
    config: { address: 'a:1', host: { name: 'a' } },
    clock: { monotonic: () => 0 },
    log: { info: () => undefined, warn: () => undefined },
    register,
    migrations: { assertSoon: () => undefined },
    journals: {
      of: () => ({ write: async ({ incarnation }: { incarnation: string }) => journaled.push(incarnation) }),
    },
    destinationAt: () => ({ checkReady: async () => ({ receiving: true, host: 'b', cookieKey: Buffer.alloc(32) }) }),
  } as unknown as SourceAgent;
  const monitor = { execute: async () => ({}) } as unknown as Monitor;
  const readiness = new Readiness(agent, held, monitor, limitsOf(undefined));
  await register.begin(handoverOf(held), never);
  await dest.begin(handoverOf(held), never);
  const key = `ferry:{${start.domainUuid}}:handover:${start.migrationId}`;
  return { readiness, held, register, dest, redis, key, journaled };
}

it('the source joins a record that was forgotten after Begin and made anew by Prepare', async () => {
  await using server = await startRedis();
  const { readiness, held, dest, redis, key, journaled } = await sending(server);
  await redis.del(key);
  await dest.begin(handoverOf(held), never);
  await readiness.check(never);
  expect(await dest.renew(handoverOf(held), never)).toEqual({ source: 'a:1', dest: 'b:1' });
  expect(journaled).toEqual([]);
  readiness.sending(never);
  expect(await readiness.refusal()).toBeUndefined();
});

it('a record that is forgotten once more as the source joins it is missed: the guest is not stopped', async () => {
  await using server = await startRedis();
  const { readiness, held, register, dest, redis, key, journaled } = await sending(server);
  await redis.del(key);
  await dest.begin(handoverOf(held), never);
  const renew = register.renew.bind(register);
  register.renew = async (r, signal) => {
    const addresses = await renew(r, signal);
    await redis.del(key);
    return addresses;
  };
  await readiness.check(never);
  expect(await readiness.refusal()).toMatchObject({ kind: 'not-ready', cause: { kind: 'register-changed' } });
  // Begun anew, journaled, and not counted as ready before the destination has followed.
  expect(journaled).toEqual([held.state.incarnation]);
});
