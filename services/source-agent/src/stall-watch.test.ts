import { expect, it } from '@jest/globals';
import type { Monitor } from '@ferry/qemu-qmp';
import { watchStall } from './stall-watch.ts';

const never = new AbortController().signal;

/** A QEMU whose stream has come as far as each look finds; from the last one on it stands still. */
function stream(transferred: readonly number[]) {
  const world = { looks: 0 };
  const execute = async () => {
    const at = Math.min(world.looks, transferred.length - 1);
    world.looks += 1;
    return { status: 'device', ram: { transferred: transferred[at] } };
  };
  return { world, monitor: { execute } as unknown as Monitor };
}

it.each([
  // The first look tells where it is, and four in as long as it may stand still that it is there yet.
  ['has stood still since the guest was stopped', [1], 5],
  ['moves for a while, and then stands still', [1, 1, 1, 1, 2], 9],
])('a stream that %s is given up', async (_what, transferred, looks) => {
  const { world, monitor } = stream(transferred);
  await expect(watchStall(monitor, 20, never)).rejects.toMatchObject({ kind: 'switchover-stalled' });
  expect(world.looks).toBe(looks);
});

it('a switchover that is over is looked at no more', async () => {
  const { world, monitor } = stream([1]);
  const over = new AbortController();
  const watching = watchStall(monitor, 1_000, over.signal);
  over.abort();
  await watching;
  expect(world.looks).toBe(0);
});
