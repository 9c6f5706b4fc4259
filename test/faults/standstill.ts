/** How long a guest stands still after an accident, with the limits that the agents have as they are delivered. */
import { type Case, caseOf, isBad, play, type Result } from './case.ts';
import { Stage } from './stage.ts';

/** With the defaults it may take a lease and an idle limit, and a restart. */
const settleMsMax = 120_000;

/** What happens, and the case that shows it. */
const accidents: readonly (readonly [what: string, id: string])[] = [
  ['nothing', 'v3/peer/dest/finish3/qmp:cont/1/after/repeat-call'],
  ['v3: the caller dies between Perform and Finish', 'v3/direct/source/begin3/serve:Perform/1/after/kill-caller'],
  ['v2: the caller dies between Perform and Finish', 'v2/direct/source/opening/serve:Perform/1/after/kill-caller'],
  ['the source’s agent dies as the guest stops', 'v3/peer/source/perform3/event:STOP/1/after/kill-source-agent'],
  [
    'the destination’s agent dies before Finish',
    'v3/peer/dest/prepare/event:MIGRATION.completed/1/before/kill-dest-agent',
  ],
  ['the destination’s agent dies in Finish', 'v3/peer/dest/finish3/redis:register-commit/1/before/kill-dest-agent'],
  ['the agents are cut off as the guest stops', 'v3/peer/source/perform3/event:STOP/1/after/cut-agents'],
  ['the stream hangs as the guest stops', 'v3/peer/source/perform3/event:STOP/1/before/hang-stream'],
  ['the destination’s agent hangs as the guest stops', 'v3/peer/source/perform3/event:STOP/1/after/hang-dest-agent'],
  [
    'Redis is killed before the commit, and started again',
    'v3/peer/dest/finish3/redis:register-commit/1/before/kill-redis',
  ],
];

/** Prints a line for each of the first `count`; gives whether all ended well. */
export async function standstills(count: number): Promise<boolean> {
  const results: Result[] = [];
  for (const [what, id] of accidents.slice(0, count)) {
    await using stage = await Stage.start({ defaults: true });
    const result = await play(stage, caseOf(id) satisfies Case, settleMsMax);
    results.push(result);
    const wrong = isBad(result) ? `  BAD ${JSON.stringify(result)}` : result.end === 'ran' ? '' : `  ${result.end}`;
    console.log(`${(result.standstillMs / 1_000).toFixed(3).padStart(8)} s  ${what}${wrong}`);
  }
  return !results.some(isBad);
}
