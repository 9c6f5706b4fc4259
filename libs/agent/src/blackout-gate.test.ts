import { setTimeout as delay } from 'node:timers/promises';
import { DestAgentService, DestPeerService } from '@ferry/proto/ferry/v1/dest_agent';
import { failureFromWire } from '@ferry/rpc';
import { describe, expect, it } from '@jest/globals';
import { BlackoutGate } from './blackout-gate.ts';
import { dial, invoke } from './client.ts';
import { Ongoing } from './ongoing.ts';
import { finishRequest, migrationId, prepareRequest, startTestAgent } from './testing/agent.ts';

const patient = AbortSignal.timeout(60_000);
const { prepare, finish } = DestAgentService;
const { ask, checkReady } = DestPeerService;
/** Longer than any test here. */
const closedMs = 60_000;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5, undefined, { signal: patient });
}

describe('while a guest stands still', () => {
  it('calls wait, and those go on that its switchover needs', async () => {
    const gate = new BlackoutGate({ closedMs });
    let prepared = 0;
    const count = async () => {
      prepared += 1;
      return { migrationUri: 'tcp:x:1', cookieOut: Buffer.alloc(0) };
    };
    await using agent = await startTestAgent({ prepare: count }, { gate });
    await invoke(agent.client, prepare, prepareRequest, patient);
    gate.close(migrationId);
    const waiting = invoke(agent.client, prepare, prepareRequest, patient);
    const question = { migrationId, domain: 'web-1', incarnation: 'x', askerAddress: '' };
    // All over one connection, one after the other: what came first would have been answered first.
    await invoke(agent.client, finish, finishRequest, patient);
    await invoke(agent.client, checkReady, { ...question, streamOnly: true, askerHost: '', run: 'r' }, patient);
    await invoke(agent.client, ask, question, patient);
    expect(prepared).toBe(1);
    gate.open(migrationId);
    await waiting;
    expect(prepared).toBe(2);
  });

  it('a call that is given up meanwhile never begins', async () => {
    let held = 0;
    const gate = new BlackoutGate({ closedMs, onHeld: (count) => (held = count) });
    let prepared = 0;
    const count = async () => {
      prepared += 1;
      return { migrationUri: '', cookieOut: Buffer.alloc(0) };
    };
    await using agent = await startTestAgent({ prepare: count }, { gate });
    await invoke(agent.client, finish, finishRequest, patient);
    gate.close(migrationId);
    const hasty = Array.from({ length: 50 }, () =>
      invoke(agent.client, prepare, prepareRequest, AbortSignal.timeout(50)),
    );
    await Promise.allSettled(hasty);
    await invoke(agent.client, finish, finishRequest, patient);
    gate.open(migrationId);
    await until(() => held > 0);
    await invoke(agent.client, finish, finishRequest, patient);
    expect({ held, prepared }).toEqual({ held: 50, prepared: 0 });
  });

  it('connections wait only when no call may come over one', async () => {
    const gate = new BlackoutGate({ closedMs });
    await using agent = await startTestAgent({}, { gate });
    gate.close(migrationId, 'calls');
    const first = dial(agent.server.address, await agent.reopen());
    await invoke(first, finish, finishRequest, patient);
    gate.close(migrationId, 'connections');
    const second = dial(agent.server.address, await agent.reopen());
    let answered = false;
    const answer = invoke(second, finish, finishRequest, patient, { waitForReady: true }).then(() => (answered = true));
    for (let round = 0; round < 20; round += 1) await invoke(first, finish, finishRequest, patient);
    expect(answered).toBe(false);
    gate.open(migrationId);
    await answer;
    for (const client of [first, second]) client.close();
  });

  it('those who watch hear nothing', async () => {
    const gate = new BlackoutGate({ closedMs });
    const start = { migrationId, domainUuid: migrationId, domainName: 'web-1', side: 'dest', protocol: 3 } as const;
    const ongoing = new Ongoing(start, new Date(), { gate });
    const heard: unknown[] = [];
    const watching = (async () => {
      for await (const { event } of ongoing.follow(patient)) heard.push(event?.$case);
    })();
    gate.close(migrationId);
    ongoing.phaseStarted('dest', 'prepare');
    await delay(20);
    expect(heard).toEqual([]);
    gate.open(migrationId);
    await until(() => heard.length === 1);
    ongoing.end('completed', undefined);
    await watching;
  });
});

it('opens by itself, also if it is closed again and again for one migration', async () => {
  const gate = new BlackoutGate({ closedMs: 50 });
  gate.close(migrationId);
  const opened = gate.opened();
  gate.close(migrationId, 'connections');
  await opened;
  expect([gate.isClosedFor('calls'), gate.isClosedFor('connections')]).toEqual([false, false]);
});

it('is open when no guest stands still any more', () => {
  const gate = new BlackoutGate({ closedMs });
  for (const id of ['first', 'second']) gate.close(id);
  gate.open('first');
  expect(gate.isClosedFor('calls')).toBe(true);
  gate.open('second');
  gate.open('unknown');
  expect(gate.isClosedFor('calls')).toBe(false);
});

it('lets those who waited go on a few at a time, and stops when another guest stands still', async () => {
  const gate = new BlackoutGate({ closedMs });
  gate.close('first');
  let ran = 0;
  for (let i = 0; i < 100; i += 1)
    gate.whenOpen(() => {
      ran += 1;
      if (ran === 40) gate.close('second');
    });
  gate.open('first');
  await until(() => ran === 40);
  await delay(20);
  expect(ran).toBe(40);
  gate.open('second');
  await until(() => ran === 100);
});

it('of what failed while it waited, the caller is told as always', async () => {
  const gate = new BlackoutGate({ closedMs });
  await using agent = await startTestAgent({}, { gate, limits: { burst: 1, perSecond: 0 } });
  await invoke(agent.client, finish, finishRequest, patient);
  gate.close(migrationId);
  const refused = invoke(agent.client, prepare, prepareRequest, patient).catch((error: unknown) => error);
  gate.open(migrationId);
  expect(failureFromWire(await refused)).toMatchObject({ reason: 'too-many-calls' });
});
