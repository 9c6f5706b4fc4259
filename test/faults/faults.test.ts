/** A sample of the fault matrix (`./dev faults` plays it all), and the test of it: with a guard removed it finds the accident. */
import { describe, expect, it } from '@jest/globals';
import { accidents, type Guard, guards } from './accidents.ts';
import { type Case, caseOf, isBad, play, type Result } from './case.ts';
import { faultNames } from './faults.ts';
import { matrixOf, record, sample, samplePairs, unseen } from './matrix.ts';
import { newActs, recordedBefore } from './recorded.ts';
import { Stage } from './stage.ts';

/** As many as fit into a minute. */
const sampled = 24;
const sampledPairs = 12;
const seed = Number(process.env['SEED'] ?? '1');
const sampleMsMax = 170_000;
const triesMax = 8;

/** Plays them one after the other; a stage on which something went wrong is not used any more. */
async function playAll(cases: readonly Case[], guard?: Guard, settleMsMax?: number): Promise<Result[]> {
  const results: Result[] = [];
  let stage: Stage | undefined;
  try {
    for (const each of cases) {
      stage ??= await Stage.start({ guard });
      const result = await play(stage, each, settleMsMax);
      results.push(result);
      if (!isBad(result)) continue;
      await stage[Symbol.asyncDispose]();
      stage = undefined;
    }
  } finally {
    await stage?.[Symbol.asyncDispose]();
  }
  return results;
}

describe('the fault matrix', () => {
  const recorded = recordedBefore();

  it('goes through every phase of the table, with every fault', () => {
    expect(unseen(recorded)).toEqual([]);
    expect(new Set(matrixOf(recorded).map(({ fault }) => fault))).toEqual(new Set(faultNames));
  });

  it('knows every act of a migration; if not: ./dev faults --record', async () => {
    await using stage = await Stage.start();
    expect(newActs(await record(stage))).toEqual([]);
  });

  it(
    `ends well: ${sampled} cases by seed ${seed}`,
    async () => {
      const results = await playAll(sample(matrixOf(recorded), sampled, seed));
      expect(results.filter(isBad)).toEqual([]);
      // Which timer fires first is not the same each time, so a point may be missed; most are not.
      expect(results.filter(({ end }) => end === 'ran').length).toBeGreaterThan(sampled / 2);
    },
    sampleMsMax,
  );

  it(
    `ends well with two faults at once: ${sampledPairs} cases by seed ${seed}`,
    async () => {
      const results = await playAll(samplePairs(matrixOf(recorded), sampledPairs, seed));
      expect(results.filter(isBad)).toEqual([]);
    },
    sampleMsMax,
  );
});

/** Each showed a defect once. */
const onceBad = [
  // The journal's end could not be written, and was not tried again, since the job had ended already.
  'v3/peer/source/confirm3/redis:job-finish/1/before/disk-full',
  'v2/direct/dest/finish2/qmp:cont/1/before/disk-full',
];

describe('what went wrong once', () => {
  it(
    'ends well',
    async () => {
      const results = await playAll(onceBad.map(caseOf));
      expect(results.filter((result) => isBad(result) || result.end !== 'ran')).toEqual([]);
    },
    sampleMsMax,
  );
});

describe('each guard of the handover decision', () => {
  const cases = (guard: Guard) => accidents[guard].map(caseOf);

  it(
    'is there: what it is for ends well',
    async () => {
      const results = await playAll(guards.flatMap(cases));
      expect(results.filter((result) => isBad(result) || result.end !== 'ran')).toEqual([]);
    },
    sampleMsMax,
  );

  it.each(guards)(
    'without %s there is an accident',
    async (guard) => {
      // Some accidents need two things to come within a second of each other.
      for (let tries = 0; tries < triesMax; tries += 1) {
        if ((await playAll(cases(guard), guard, 10_000)).some(isBad)) return;
      }
      throw new Error(`${triesMax} times, nothing happened`);
    },
    2 * sampleMsMax,
  );
});
