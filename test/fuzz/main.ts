/** `./dev fuzz`: the readers of everything from outside, one after the other, for as long as wanted. */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';
import { targets } from './targets.ts';

const usage = `usage: ./dev fuzz [OPTIONS]

  --minutes N   how long, all readers together (10)
  --only NAME   one reader: ${targets.map(({ name }) => name).join(', ')}
  --seed N      the same inputs again, as a failure names them
`;

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string' },
      only: { type: 'string' },
      seed: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  const { only, help } = values;
  const [minutes, seed] = [Number(values.minutes ?? 10), values.seed === undefined ? undefined : Number(values.seed)];
  const chosen = targets.filter(({ name }) => only === undefined || name === only);
  if (help === true || chosen.length === 0 || !(minutes > 0) || !Number.isInteger(seed ?? 0)) {
    process.stderr.write(usage);
    return help === true ? 0 : 2;
  }
  let broken = 0;
  for (const target of chosen) {
    const options = { runs: Number.MAX_SAFE_INTEGER, untilMs: (minutes * 60_000) / chosen.length };
    const said = await fuzz(target, seed === undefined ? options : { ...options, seed }).then(
      () => 'holds',
      (error: unknown) => {
        broken += 1;
        return String(error);
      },
    );
    process.stdout.write(`${target.name.padEnd(16)} ${said}\n`);
  }
  return broken === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`fuzz: ${error instanceof Error ? error.message : String(error)}\n${usage}`);
  return 2;
});
