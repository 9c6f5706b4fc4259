/**
 * `./dev bench`: QEMU alone against Ferry, in one run and in turn, so that whatever else the machine does is shared by all. A table for
 * people, and all single values as JSON. It asserts nothing about times.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { buildGuest } from '@ferry/guest';
import { Lab } from '@ferry/lab';
import { qemuAlone } from './alone.ts';
import type { Contender } from './contender.ts';
import { connect, ferryByCaller, ferryPeerToPeer, ferryUnderLoad } from './ferry.ts';
import type { GuestKind } from './guests.ts';
import { burners } from './burners.ts';
import { measureMany, rowsOfMany } from './many-guests.ts';
import { measure, rowsOf } from './one-guest.ts';
import { type BenchOptions, readOptions, usage } from './options.ts';
import { formatTable } from './table.ts';
import { lookEveryMs } from './tick-watch.ts';

const root = join(import.meta.dirname, '..', '..');
/** Idle: what is compared is all that is not the guest's own. */
const manyKind: GuestKind = { memoryMiB: 128, tickMs: 100 };
/** Of every single migration, or twenty at once; nothing here takes half as long. */
const patienceMs = 120_000;

const say = (text: string): boolean => process.stdout.write(text);
const progress = (text: string): boolean => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);

/** Lets all contenders go through the rounds in turn; the first `warmUp` rounds do not count. */
async function inTurn<T>(
  what: string,
  contenders: readonly Contender[],
  { warmUp, rounds }: { warmUp: number; rounds: number },
  run: (contender: Contender, patience: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<Map<string, T[]>> {
  const results = new Map<string, T[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 1 - warmUp; round <= rounds; round += 1) {
    for (const contender of contenders) {
      progress(`${what}, round ${round > 0 ? `${round} of ${rounds}` : 'to warm up'}: ${contender.name}`);
      const result = await run(contender, AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]));
      if (round > 0) results.get(contender.name)?.push(result);
    }
  }
  progress('');
  return results;
}

const load = (): string => `load average ${loadavg()[0]?.toFixed(1)} on ${cpus().length} CPUs`;

async function bench(options: BenchOptions, signal: AbortSignal): Promise<void> {
  const { rounds, warmUp, manyRounds, guests, busy, kind, cpuProfile } = options;
  const loadBefore = loadavg();
  const profiling = { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${resolve(cpuProfile ?? '')}` };
  const rom = await buildGuest();
  await using lab = await Lab.start(cpuProfile === undefined ? {} : { env: profiling }, signal);
  using clients = await connect(lab);
  const alone = await qemuAlone(lab, signal);
  const [byCaller, peerToPeer] = [ferryByCaller(lab, clients), ferryPeerToPeer(lab, clients)];

  const one = await inTurn(
    'one guest',
    [alone, byCaller, peerToPeer, ...(options.load ? [ferryUnderLoad(lab, clients)] : [])],
    { warmUp, rounds },
    (contender, patience) => measure(contender, kind, rom, lab, patience),
    signal,
  );
  say(
    `\nOne guest of ${kind.memoryMiB} MiB, dirtying ${kind.rate}/s of ${kind.dirty}; median (range) of ${rounds} rounds; ${load()}\n\n`,
  );
  say(`${formatTable(rowsOf(one))}\n\n`);
  say(
    'besides QEMU: the whole migration as the caller sees it, launching the destination’s QEMU included, without QEMU’s total-time\n',
  );
  say('blackout: from the source’s STOP to the destination’s RESUME, by QMP’s timestamps\n');
  say(
    `by ticks: the longest silence in the guest’s output; it ticks every ${kind.tickMs} ms and is looked at every ${lookEveryMs} ms, so up to ${(kind.tickMs ?? 0) + lookEveryMs} ms too long\n`,
  );
  say(
    'control plane: the part of the blackout from STOP to leaving pre-switchover, and from the guest loaded to RESUME\n',
  );

  using _burners = guests === 0 ? undefined : burners(busy);
  const many =
    guests === 0
      ? undefined
      : await inTurn(
          `${guests} guests`,
          [alone, peerToPeer],
          { warmUp: Math.min(1, warmUp), rounds: manyRounds },
          (contender, patience) => measureMany(contender, guests, manyKind, rom, lab, patience),
          signal,
        );
  if (many !== undefined) {
    say(
      `\n${guests} idle guests of ${manyKind.memoryMiB} MiB at once${busy === 0 ? '' : `, beside ${busy} busy processes`}; median (range) of ${manyRounds} rounds; ${load()}\n\n`,
    );
    say(`${formatTable(rowsOfMany(many))}\n`);
  }
  const values = {
    at: new Date().toISOString(),
    options,
    loadBefore,
    loadAfter: loadavg(),
    cpus: cpus().map(({ model }) => model),
    node: process.version,
    oneGuest: Object.fromEntries(one),
    manyGuestsMs: many === undefined ? undefined : Object.fromEntries(many),
  };
  say(`\nall values: ${relative(process.cwd(), keep(values))}\n`);
}

/** Writes the values to a file of its own and gives its path. */
function keep(values: { readonly at: string }): string {
  const dir = join(root, 'bench-results');
  mkdirSync(dir, { recursive: true });
  const path = join(dir, `${values.at.replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(path, `${JSON.stringify(values, undefined, 2)}\n`);
  return path;
}

/** What went wrong first: what goes wrong while guests and agents are ended after it hides it (SuppressedError), and says nothing. */
function firstOf(error: unknown): string {
  if (error instanceof SuppressedError) return firstOf(error.suppressed);
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const interrupted = new AbortController();
// Whoever read us has gone.
process.stdout.on('error', (error) => interrupted.abort(error));
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interrupted.abort(new Error(`${name} received`)));
}
try {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) say(usage);
  else await bench(options, interrupted.signal);
} catch (error) {
  progress('');
  const wrongUsage = error instanceof RangeError || (error instanceof TypeError && 'code' in error);
  process.stderr.write(
    `bench: ${interrupted.signal.aborted ? 'interrupted' : wrongUsage ? error.message : firstOf(error)}\n`,
  );
  if (wrongUsage) process.stderr.write(usage);
  process.exitCode = interrupted.signal.aborted ? 130 : wrongUsage ? 2 : 1;
}
