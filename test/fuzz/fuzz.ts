/** Gives one reader damaged inputs until it does something else than take or refuse them, or takes too much for that. */
import * as fc from 'fast-check';
import { damaged } from './mutations.ts';
import type { Target } from './targets.ts';

/** Processor time for one input, by this process's own clock of it: noise of other processes does not count. */
const cpuMsMax = 2_000;
/** What the heap may grow by for one input, before anything is collected. */
const heapBytesMax = 256 << 20;
const messageCharsMax = 20_000;

export interface FuzzOptions {
  readonly runs: number;
  readonly seed?: number;
  /** Ends then, whatever is left of `runs`. */
  readonly untilMs?: number;
}

/** Throws an Error with the input, shrunk, and the seed with which it comes again. */
export async function fuzz(target: Target, { runs, seed, untilMs }: FuzzOptions): Promise<void> {
  const property = fc.asyncProperty(damaged(target.seeds, target.tokens), (input) => tryOne(target, input));
  await fc.assert(property, {
    numRuns: runs,
    ...(seed === undefined ? {} : { seed }),
    ...(untilMs === undefined ? {} : { interruptAfterTimeLimit: untilMs }),
  });
}

async function tryOne(target: Target, input: Buffer): Promise<void> {
  const cpu = process.cpuUsage();
  const heap = process.memoryUsage().heapUsed;
  const refused = await Promise.resolve()
    .then(() => target.read(input))
    .then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
  const { user, system } = process.cpuUsage(cpu);
  const ms = (user + system) / 1_000;
  if (ms > cpuMsMax) throw new Error(`${target.name} took ${Math.round(ms)} ms of the processor`);
  const grown = process.memoryUsage().heapUsed - heap;
  if (grown > heapBytesMax) throw new Error(`${target.name} took ${grown >> 20} MiB`);
  if (refused === undefined) return;
  const { error } = refused;
  if (!target.refuses(error)) throw new Error(`${target.name} broke: ${String(error)}`, { cause: error });
  const { message } = error as Error;
  if (message.length > messageCharsMax) throw new Error(`${target.name} refused with ${message.length} characters`);
}
