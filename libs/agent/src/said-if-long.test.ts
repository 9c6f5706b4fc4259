import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from '@jest/globals';
import { saidIfLong } from './said-if-long.ts';

function lines() {
  const said: string[] = [];
  return { said, log: { warn: (_fields: unknown, text?: string) => void said.push(text ?? '') } };
}

it('a long wait says for what, and that it is over', async () => {
  const { said, log } = lines();
  const { promise, resolve } = Promise.withResolvers<number>();
  const waited = saidIfLong(log, 'the process’s end', {}, promise);
  while (said.length === 0) await delay(10);
  resolve(7);
  expect(await waited).toBe(7);
  expect(said).toEqual(['waits for the process’s end', 'has waited for the process’s end']);
});

it('a short one says nothing, and an error is passed on', async () => {
  const { said, log } = lines();
  await expect(saidIfLong(log, 'an answer', {}, Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(said).toEqual([]);
});
