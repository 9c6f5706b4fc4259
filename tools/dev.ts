/** `./dev COMMAND`: what the project can do, by name. Installing is `./dev`'s own work; it is done when this runs. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { check } from './check.ts';
import { slowness } from './slowness.ts';
import { testOnCi } from './test.ts';

const root = join(import.meta.dirname, '..');

/** Runs a command with our own terminal and gives its exit status; a signal counts as 128 + its number. */
function run(argv: readonly string[], env: Record<string, string> = {}, cwd = root): Promise<number> {
  const [file = '', ...args] = argv;
  const child = spawn(file, args, { cwd, stdio: 'inherit', env: { ...process.env, ...env } });
  // Ctrl-C reaches the child by itself (same terminal); it decides what to do with it, we only wait.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 130));
  });
}

const dist = join(root, 'dist');

/** Runs with agents as users have them, where `--bundle` is among the arguments; the bundles are built first. */
async function withBundle(
  args: readonly string[],
  act: (args: readonly string[], env: Record<string, string>) => Promise<number>,
): Promise<number> {
  if (!args.includes('--bundle')) return act(args, {});
  const built = await script('tools/build.ts', []);
  const rest = args.filter((argument) => argument !== '--bundle');
  return built === 0 ? act(rest, { FERRY_BUNDLE: dist }) : built;
}

const script = (path: string, args: readonly string[], cwd = root, env: Record<string, string> = {}): Promise<number> =>
  run([process.execPath, join(root, path), ...args], env, cwd);

/** From here on it is worth a word that limits are longer. */
const slowAt = 1.5;

function jest(args: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const factor = slowness();
  if (factor >= slowAt)
    process.stderr.write(
      `this machine is slow or busy: the time limits of the tests are ${factor.toFixed(1)} times as long\n`,
    );
  return run([process.execPath, '--experimental-vm-modules', join(root, 'node_modules/jest/bin/jest.js'), ...args], {
    NODE_NO_WARNINGS: '1',
    FERRY_TEST_SLOWNESS: factor.toFixed(2),
    ...env,
  });
}

interface Command {
  readonly usage: string;
  readonly what: string;
  run(args: readonly string[]): Promise<number>;
}

const commands: Readonly<Record<string, Command>> = {
  demo: {
    usage: 'demo [--bundle]',
    what: 'two hosts, a running guest, one migration, everything shown and cleaned up',
    run: (args) => withBundle(args, (rest, env) => script('lab/src/demo.ts', rest, root, env)),
  },
  test: {
    usage: 'test [--bundle] [PATTERN…]',
    what: 'all tests, against real QEMU and real Redis',
    run: (args) =>
      withBundle(args, (rest, env) =>
        process.env['CI'] === 'true' ? testOnCi((each) => jest(each, env), rest) : jest(rest, env),
      ),
  },
  lab: {
    usage: 'lab up [--hosts N] [--bundle] | status | down',
    what: 'the hosts of the demo, left running to play with',
    run: (args) => withBundle(args, (rest, env) => script('lab/src/main.ts', rest, root, env)),
  },
  ferry: {
    usage: 'ferry …',
    what: 'the command line that talks to the lab; `ferry --help`',
    // It names files of its caller, who need not be in the checkout.
    run: (args) => script('services/cli/src/main.ts', args, process.env['FERRY_CALLED_FROM']),
  },
  agent: {
    usage: 'agent source | dest',
    what: 'an agent in the foreground, configured by its environment (docs/operations.md)',
    run: ([side = '']) =>
      side === 'source' || side === 'dest'
        ? run([process.execPath, 'src/main.ts'], {}, join(root, `services/${side}-agent`))
        : Promise.reject(new Error('usage: ./dev agent source | dest')),
  },
  build: {
    usage: 'build [DIRECTORY]',
    what: 'the programs as users run them, in dist/: node dist/source-agent.mjs',
    run: (args) => script('tools/build.ts', args, process.env['FERRY_CALLED_FROM']),
  },
  package: {
    usage: 'package [DIRECTORY]',
    what: 'a Debian package and a tarball of them, in packages/',
    run: (args) => script('tools/package.ts', args, process.env['FERRY_CALLED_FROM']),
  },
  check: {
    usage: 'check',
    what: 'formatting, lint, types, layering, dead code, proto lint, the spin model',
    run: () => check(root),
  },
  faults: {
    usage: 'faults [--two] [--cases N] [--seed S] [--case ID]… | --list | --standstill | --record',
    what: 'the fault matrix: every phase, every act, every accident; a table of what came of it',
    run: (args) => run([process.execPath, join(root, 'test/faults/main.ts'), ...args], { NODE_NO_WARNINGS: '1' }),
  },
  simulate: {
    usage: 'simulate [--schedules N] [--seed S] …',
    what: 'both agents in virtual time, faults drawn from seeds; one seed is shown step by step',
    run: (args) => script('sim/src/main.ts', args),
  },
  sbom: {
    usage: 'sbom [--out FILE]',
    what: 'what the agents and the command line are shipped with, as CycloneDX',
    run: (args) => {
      const format = ['--sbom-format', 'cyclonedx', '--sbom-type', 'application'];
      return run(['pnpm', 'sbom', '--filter', './services/*', '--prod', ...format, ...args]);
    },
  },
  fuzz: {
    usage: 'fuzz [--minutes N] [--only NAME] [--seed N]',
    what: 'damaged documents, cookies, messages and records for everything that reads from outside',
    run: (args) => script('test/fuzz/main.ts', args),
  },
  bench: {
    usage: 'bench [--rounds N] [--guests N] [--busy N] | --start',
    what: 'QEMU alone against Ferry, interleaved in one run; what an agent’s start costs',
    run: ([first = '', ...rest]) =>
      first === '--start'
        ? script('test/bench/start.ts', rest)
        : script('test/bench/main.ts', [first, ...rest].filter(Boolean)),
  },
};

const [name = 'help', ...args] = process.argv.slice(2);
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (command !== undefined) {
  process.exitCode = await command.run(args);
} else {
  const lines = Object.values(commands).map((c) => `  ./dev ${c.usage.padEnd(36)} ${c.what}`);
  const text = `usage:\n${lines.join('\n')}\n`;
  if (name === 'help' || name === '--help') process.stdout.write(text);
  else {
    process.stderr.write(`dev: no command ${JSON.stringify(name)}\n${text}`);
    process.exitCode = 2;
  }
}
