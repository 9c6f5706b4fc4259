import { expect, it } from '@jest/globals';
import { Turns } from './turns.ts';

const { signal } = new AbortController();

it('so many at once, the others in their order', async () => {
  const turns = new Turns(2);
  const first = await turns.take(signal);
  const second = await turns.take(signal);
  const order: number[] = [];
  const third = turns.take(signal).then((turn) => (order.push(3), turn));
  const fourth = turns.take(signal).then((turn) => (order.push(4), turn));
  await Promise.resolve();
  expect(order).toEqual([]);
  second.end();
  second.end();
  await third;
  expect(order).toEqual([3]);
  first.end();
  await fourth;
  expect(order).toEqual([3, 4]);
});

it('who gives up waiting has no turn', async () => {
  const turns = new Turns(1);
  const first = await turns.take(signal);
  const given = new AbortController();
  const waiting = turns.take(given.signal);
  given.abort(new Error('no more'));
  await expect(waiting).rejects.toThrow('no more');
  first.end();
  using again = await turns.take(signal);
  expect(again).toBeDefined();
});

it('keeps a turn until what is done in it is done, also if that fails', async () => {
  const turns = new Turns(1);
  const done: string[] = [];
  const first = Promise.withResolvers<string>();
  const one = turns.run(() => first.promise, signal);
  const other = turns.run(async () => void done.push('other'), signal);
  await new Promise(setImmediate);
  expect(done).toEqual([]);
  first.reject(new Error('no'));
  await expect(one).rejects.toThrow('no');
  await other;
  expect(done).toEqual(['other']);
});
