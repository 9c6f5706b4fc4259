/** `./dev check`: every rule that a commit must pass, all of them run, each with its time. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { licenceProblem } from './licences.ts';

interface Check {
  readonly name: string;
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** What the output must show for success to count: a rule that looked at nothing has found nothing. */
  readonly proof?: (output: string) => string | undefined;
}

/** Fewer than this many modules seen means that the layering rules ran on nothing. */
const modulesMin = 60;

const checks: readonly Check[] = [
  { name: 'format', argv: ['biome', 'format', '.'] },
  { name: 'lint', argv: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'types', argv: ['tsc', '--noEmit', '-p', '.'] },
  {
    name: 'layering',
    argv: ['depcruise', 'libs', 'services', 'lab', 'guest', 'sim', 'test', '--config', '.dependency-cruiser.cjs'],
    proof: (output) => {
      const modules = Number(/\((\d+) modules/.exec(output)?.[1] ?? 0);
      return modules >= modulesMin ? undefined : `only ${modules} modules were looked at`;
    },
  },
  { name: 'dead code', argv: ['knip'] },
  // What tests alone call goes; what they alone import, of something that is used beside it, is tagged @internal.
  { name: 'only tests', argv: ['knip', '--production', '--exclude', 'dependencies,unlisted,unresolved,binaries'] },
  {
    name: 'licences',
    argv: ['pnpm', 'licenses', 'list', '--prod', '--json', '--filter', './services/*'],
    proof: licenceProblem,
  },
  { name: 'proto lint', argv: ['buf', 'lint'], cwd: 'proto' },
];

/** Runs all checks in the checkout `root`; gives 0 if all passed, else 1. */
export async function check(root: string): Promise<number> {
  const withSpin = existsSync('/usr/bin/spin') && existsSync('/usr/bin/cc');
  const all: readonly Check[] = withSpin ? [...checks, { name: 'model', argv: ['sh', 'spec/check.sh'] }] : checks;
  let failed = 0;
  for (const { name, argv, cwd, proof } of all) {
    const started = performance.now();
    const [file = '', ...args] = argv;
    const done = spawnSync(file, args, { cwd: join(root, cwd ?? '.'), encoding: 'utf8', env: process.env });
    const output = `${done.stdout ?? ''}${done.stderr ?? ''}${done.error?.message ?? ''}`;
    const wrong = done.status === 0 ? proof?.(output) : `exit status ${done.status}`;
    const took = `${((performance.now() - started) / 1000).toFixed(1)} s`;
    process.stdout.write(`${wrong === undefined ? 'ok    ' : 'FAILED'} ${name.padEnd(12)} ${took}\n`);
    if (wrong !== undefined) {
      failed += 1;
      process.stdout.write(`${output.trimEnd()}\n${name}: ${wrong}\n`);
    }
  }
  if (!withSpin) process.stdout.write('-      model        spin or cc is not installed (apt-get install spin gcc)\n');
  return failed === 0 ? 0 : 1;
}
