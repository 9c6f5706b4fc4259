import { expect, it } from '@jest/globals';
import { SharedAnswers } from './shared-answers.ts';

const patient = AbortSignal.timeout(60_000);

/** Looks that a test ends itself; the n-th gives n. */
function looks() {
  const ends: ((error?: Error) => void)[] = [];
  const answers = new SharedAnswers<number>((key) => {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const n = ends.length + 1;
    ends.push((error) => (error === undefined ? resolve(n) : reject(new Error(`${key}: ${error.message}`))));
    return promise;
  });
  return { ends, answers };
}
const turns = () => new Promise((resolve) => setTimeout(resolve, 1));

it('whoever asks while a look runs shares the next one', async () => {
  const { ends, answers } = looks();
  const first = answers.get('', patient);
  const later = Array.from({ length: 1_000 }, () => answers.get('', patient));
  expect(ends).toHaveLength(1);
  ends[0]?.();
  expect(await first).toBe(1);
  await turns();
  expect(ends).toHaveLength(2);
  const last = answers.get('', patient);
  ends[1]?.();
  expect(new Set(await Promise.all(later))).toEqual(new Set([2]));
  await turns();
  ends[2]?.();
  expect(await last).toBe(3);
});

it('one that fails is told to those who share it, and to nobody else', async () => {
  const { ends, answers } = looks();
  const first = answers.get('x', patient);
  const second = answers.get('x', patient);
  ends[0]?.(new Error('away'));
  await expect(first).rejects.toThrow('x: away');
  await turns();
  ends[1]?.();
  expect(await second).toBe(2);
  const third = answers.get('x', patient);
  expect(ends).toHaveLength(3);
  ends[2]?.();
  expect(await third).toBe(3);
});

it('who hangs up leaves the others their answer', async () => {
  const { ends, answers } = looks();
  const leaving = new AbortController();
  const gone = answers.get('', leaving.signal);
  const stays = answers.get('', patient);
  leaving.abort(new Error('hung up'));
  await expect(gone).rejects.toThrow('hung up');
  ends[0]?.();
  await turns();
  ends[1]?.();
  expect(await stays).toBe(2);
});
