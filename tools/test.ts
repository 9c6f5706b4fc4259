import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The parts used here of what `jest --json` writes. */
interface Results {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: 'passed' | 'failed';
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

/** More failing files than this are no hiccup of a noisy machine. */
const rerunMax = 4;

/**
 * `./dev test` on CI, where machines are noisy: the files that fail are run once more, after all others, and count as they
 * end then. What they said the first time stays in the output; the last line is the sum of both runs.
 * `jest` runs with the arguments given and gives its exit status.
 */
export async function testOnCi(jest: (args: readonly string[]) => Promise<number>, args: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'ferry-test-'));
  const file = join(directory, 'results.json');
  const results = () => JSON.parse(readFileSync(file, 'utf8')) as Results;
  const json = ['--json', `--outputFile=${file}`];
  try {
    const status = await jest([...args, ...json]);
    const first = results();
    const failed = first.testResults.filter((result) => result.status === 'failed');
    if (failed.length === 0 || failed.length > rerunMax) return sum(status, first.numPassedTests, failures(failed));
    const paths = failed.map((result) => result.name);
    process.stdout.write(`\nonce more, after a failure:\n${paths.map((path) => `  ${path}\n`).join('')}\n`);
    const again = await jest(['--ci', ...json, '--runTestsByPath', ...paths]);
    const second = results();
    const passedBefore = failed.flatMap((result) => result.assertionResults).filter((test) => test.status === 'passed');
    const passed = first.numPassedTests - passedBefore.length + second.numPassedTests;
    return sum(again, passed, failures(second.testResults));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A file that could not be run at all has no test that failed; it counts as one. */
function failures(results: Results['testResults']): number {
  return results
    .filter((result) => result.status === 'failed')
    .map((result) => Math.max(1, result.assertionResults.filter((test) => test.status === 'failed').length))
    .reduce((all, count) => all + count, 0);
}

function sum(status: number, passed: number, failed: number): number {
  process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
  return status;
}
