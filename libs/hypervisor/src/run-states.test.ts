import { expect, it } from '@jest/globals';
import { Monitor } from '@ferry/qemu-qmp';
import { FakeQemu } from '@ferry/qemu-qmp/fake';
import { RunStates } from './run-states.ts';

const never = new AbortController().signal;
const keptMs = 1_000;

it('a state that lasts is asked for once: until an event tells of a change, or it is too old', async () => {
  await using qemu = new FakeQemu();
  await using monitor = await Monitor.open(qemu.connect(), never);
  let nowMs = 0;
  const states = new RunStates(() => nowMs);
  const asked = () => qemu.received.filter(({ name }) => name === 'query-status').length;
  const look = () => states.of(monitor, keptMs, never);

  // One that is about to change is asked for each time.
  for (let times = 1; times <= 2; times += 1) expect([await look(), asked()]).toEqual(['prelaunch', times]);
  await monitor.execute('cont', {}, never);
  for (let times = 0; times < 3; times += 1) expect([await look(), asked()]).toEqual(['running', 3]);
  await monitor.execute('stop', {}, never);
  for (let times = 0; times < 3; times += 1) expect([await look(), asked()]).toEqual(['paused', 4]);
  nowMs = keptMs;
  expect([await look(), asked()]).toEqual(['paused', 5]);
});

it('a change while QEMU is asked is not hidden by its answer', async () => {
  await using qemu = new FakeQemu();
  await using monitor = await Monitor.open(qemu.connect(), never);
  const states = new RunStates();
  qemu.answer('query-status', () => {
    qemu.emit('STOP', {});
    return { status: 'running', running: true, singlestep: false };
  });
  await states.of(monitor, keptMs, never);
  qemu.answer('query-status', () => ({ status: 'paused', running: false, singlestep: false }));
  expect(await states.of(monitor, keptMs, never)).toBe('paused');
});

it('of a QEMU that has ended nothing is known any more', async () => {
  await using qemu = new FakeQemu();
  await using monitor = await Monitor.open(qemu.connect(), never);
  const states = new RunStates();
  await monitor.execute('cont', {}, never);
  await states.of(monitor, keptMs, never);
  qemu.die();
  if (!monitor.closed.aborted) await new Promise((resolve) => monitor.closed.addEventListener('abort', resolve));
  await expect(states.of(monitor, keptMs, never)).rejects.toMatchObject({ kind: 'qemu-disconnected' });
});
