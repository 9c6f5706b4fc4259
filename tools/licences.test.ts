import { expect, it } from '@jest/globals';
import { licenceProblem } from './licences.ts';

it.each([
  ['those that are allowed', { MIT: [{ name: 'a' }], ISC: [{ name: 'b' }] }, undefined],
  ['one that is not', { MIT: [{ name: 'a' }], 'GPL-3.0': [{ name: 'b' }, { name: 'c' }] }, 'b, c (GPL-3.0)'],
  ['an unknown one', { Unknown: [{ name: 'a' }] }, 'a (Unknown)'],
  ['none at all', {}, 'no package'],
])('packages with %s', (_what, list, problem) => {
  const said = licenceProblem(JSON.stringify(list));
  if (problem === undefined) expect(said).toBeUndefined();
  else expect(said).toContain(problem);
});
