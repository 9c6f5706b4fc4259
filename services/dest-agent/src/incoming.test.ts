import { expect, it } from '@jest/globals';
import { Monitor } from '@ferry/qemu-qmp';
import { FakeQemu, FakeRefusal } from '@ferry/qemu-qmp/fake';
import { Incoming } from './incoming.ts';

const never = new AbortController().signal;

it('starts a guest at the second try when its disk was still locked at the first', async () => {
  await using qemu = new FakeQemu();
  await using monitor = await Monitor.open(qemu.connect(), never);
  using incoming = new Incoming(monitor, () => Promise.resolve(''));
  let tries = 0;
  qemu.answer('cont', () => {
    tries += 1;
    if (tries === 1) throw new FakeRefusal('Failed to get "write" lock');
    qemu.emit('RESUME', {});
    return {};
  });
  await expect(incoming.start(never)).rejects.toMatchObject({ kind: 'qemu-refused' });
  expect(await incoming.start(never)).toBeGreaterThan(0);
});

it('does not wait for a guest that nobody sends when the caller has gone', async () => {
  await using qemu = new FakeQemu();
  await using monitor = await Monitor.open(qemu.connect(), never);
  using incoming = new Incoming(monitor, () => Promise.resolve(''));
  const caller = new AbortController();
  const waiting = incoming.loaded(caller.signal);
  caller.abort(new Error('the caller hung up'));
  await expect(waiting).rejects.toThrow('the caller hung up');
});
