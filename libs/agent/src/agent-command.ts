/** What an agent's program does besides serving, by its arguments. */
import { existsSync, readFileSync } from 'node:fs';
import { parseArgs, parseEnv } from 'node:util';
import { build, type Side } from '@ferry/migration';
import { checkConfig } from './check-config.ts';
import { exitStatus } from './until-asked.ts';

const usage = (
  side: Side,
): string => `usage: ${side}-agent                                    serve, configured by the environment
       ${side}-agent check-config [--settings FILE]…   whether it could, everything at once; status ${exitStatus.config} if not
       ${side}-agent --version\n`;

/** Ends this process if its arguments ask for anything but serving. */
export async function answerCommand(side: Side, argv: readonly string[]): Promise<void> {
  const [command, ...args] = argv;
  switch (command) {
    case undefined:
      return;
    case '--version':
      process.stdout.write(`${build.version} (${build.commit})\n`);
      return process.exit();
    case '--help':
      process.stdout.write(usage(side));
      return process.exit();
    case 'check-config':
      return process.exit(await check(side, args));
    default:
      process.stderr.write(usage(side));
      return process.exit(exitUsage);
  }
}

const exitUsage = 2;
const marks = { fine: 'ok     ', doubtful: 'warning', wrong: 'WRONG  ' } as const;

async function check(side: Side, args: readonly string[]): Promise<number> {
  let files: readonly string[];
  try {
    const { values } = parseArgs({ args: [...args], options: { settings: { type: 'string', multiple: true } } });
    files = values.settings ?? [];
  } catch {
    process.stderr.write(usage(side));
    return exitUsage;
  }
  // As systemd has them: the later one counts, and all count more than the environment. A file that is not there says nothing.
  const read = files.filter((file) => existsSync(file)).map((file) => parseEnv(readFileSync(file, 'utf8')));
  const findings = await checkConfig(side, Object.assign({ ...process.env }, ...read));
  const width = Math.max(...findings.map(({ what }) => what.length));
  for (const { is, what, says } of findings) process.stdout.write(`${marks[is]}  ${what.padEnd(width)}  ${says}\n`);
  return findings.some(({ is }) => is === 'wrong') ? exitStatus.config : 0;
}
