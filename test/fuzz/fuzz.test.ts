/** What comes from outside is taken, or refused in the one way that is declared. `./dev fuzz` tries more of the same. */
import { it } from '@jest/globals';
import { fuzz } from './fuzz.ts';
import { targets } from './targets.ts';

it.each(targets.map((target) => [target.name, target] as const))('damaged inputs of %s', async (_name, target) => {
  await fuzz(target, { runs: target.runs });
});
