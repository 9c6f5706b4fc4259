/** `./dev faults`: plays the fault matrix against real agents, real QEMU and real Redis, and prints what came of it. */
import { parseArgs } from 'node:util';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Case, caseOf, idOf, isBad, play, type Result } from './case.ts';
import { accidents, guards } from './accidents.ts';
import { matrixOf, record, sample, samplePairs } from './matrix.ts';
import { addRecorded, recordedBefore } from './recorded.ts';
import { Stage } from './stage.ts';
import { standstills } from './standstill.ts';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1200' },
    seed: { type: 'string', default: '1' },
    case: { type: 'string', multiple: true, default: [] },
    jobs: { type: 'string', default: '2' },
    grep: { type: 'string' },
    list: { type: 'boolean', default: false },
    two: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    standstill: { type: 'boolean', default: false },
    'guard-removed': { type: 'string' },
  },
});
const guard = guards.find((each) => each === values['guard-removed']);
if (values['guard-removed'] !== undefined && guard === undefined) throw new Error(`guards: ${guards.join(', ')}`);
const reports = join(import.meta.dirname, '..', '..', '.faults');
mkdirSync(reports, { recursive: true });

/** All cases, or those whose ids match. */
const chosenFrom = (): Case[] =>
  matrixOf(recordedBefore()).filter((each) => new RegExp(values.grep ?? '').test(idOf(each)));

function chosen(): Case[] {
  if (values.case.length > 0) return values.case.map(caseOf);
  if (guard !== undefined) return accidents[guard].map(caseOf);
  const all = chosenFrom();
  console.log(`${all.length} cases; ${Math.min(all.length, Number(values.cases))} of them by seed ${values.seed}`);
  return (values.two ? samplePairs : sample)(all, Number(values.cases), Number(values.seed));
}

const results: Result[] = [];
async function worker(queue: Case[]): Promise<void> {
  let stage: Stage | undefined;
  let played = 0;
  try {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      stage ??= await Stage.start({ guard });
      const startedMs = performance.now();
      const result = await play(stage, next);
      results.push(result);
      played += 1;
      const slow = result.settledMs > result.boundMs ? ' SLOW' : '';
      console.log(
        `${results.length} ${isBad(result) ? 'BAD ' : ''}${result.id}: ${result.end}, told ${result.told}, settled in ${Math.round(result.settledMs)} ms${slow}, ${Math.round(performance.now() - startedMs)} ms in all`,
      );
      if (isBad(result)) report(stage, result);
      if (isBad(result) || played % 150 === 0) {
        await stage[Symbol.asyncDispose]();
        stage = undefined;
      }
    }
  } finally {
    await stage?.[Symbol.asyncDispose]();
  }
}

function report(stage: Stage, result: Result): void {
  console.log(JSON.stringify(result, undefined, 2));
  const name = join(reports, result.id.replaceAll('/', '+'));
  writeFileSync(`${name}.json`, JSON.stringify(result, undefined, 2));
  for (const [agent, text] of Object.entries(stage.logs())) writeFileSync(`${name}.${agent}.log`, text);
  appendFileSync(join(reports, 'bad'), `${result.id}\n`);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
if (values.list) {
  for (const each of chosenFrom()) console.log(idOf(each));
} else if (values.record) await recordMore();
else if (values.standstill) process.exit((await standstills(Number(values.cases))) ? 0 : 1);
else await playAll();

async function recordMore(): Promise<void> {
  await using stage = await Stage.start();
  console.log(`${addRecorded(await record(stage))} points added`);
}

async function playAll(): Promise<never> {
  const queue = chosen();
  await Promise.all(Array.from({ length: Math.min(Number(values.jobs), queue.length) }, () => worker(queue)));
  const ran = results.filter(({ end }) => end === 'ran');
  const count = (has: (r: Result) => boolean): number => ran.filter(has).length;
  const slowest = ran.toSorted((a, b) => b.settledMs - a.settledMs)[0];
  console.log(`
cases        ${ran.length}   (not reached ${results.filter((r) => r.end === 'not-reached').length}, nothing to strike ${results.filter((r) => r.end === 'nothing-to-strike').length})
${
  values.two
    ? `both struck  ${count((r) => r.struck === 2)}
`
    : ''
}double runs  ${count((r) => r.doubles.length > 0)}
lost guests  ${count((r) => r.lost !== undefined)}
memory       ${count((r) => r.memory.length > 0)}
stuck        ${count((r) => r.stuck !== undefined)}
leftovers    ${count((r) => r.leftovers.length > 0)}
too slow     ${count((r) => r.settledMs > r.boundMs)}
slowest      ${Math.round(slowest?.settledMs ?? 0)} ms  ${slowest?.id ?? ''}`);
  // Without a guard an accident is what was looked for.
  process.exit(results.some(isBad) === (guard !== undefined) ? 0 : 1);
}
