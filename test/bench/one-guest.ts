/** The first table: one guest at a time, all contenders in turn, round after round. */
import { summarize, type Summary, formatSummary } from './statistics.ts';
import type { Lab } from '@ferry/lab';
import type { Contender, Figures } from './contender.ts';
import { describeGuest, type GuestKind, untilTicked } from './guests.ts';
import { cpuMs, peakMiB, resetPeaks } from './process-cost.ts';
import { TickWatch } from './tick-watch.ts';

/** One migration, all that is measured. Times in ms. */
export interface Measured extends Figures {
  readonly besidesQemuMs: number;
  readonly controlMs: number;
  /** The longest silence in the guest's output. */
  readonly tickBlackoutMs?: number;
  /** Of the source's and the destination's agent together; absent where no agent is. */
  readonly agentCpuMs?: number;
  readonly agentPeakMiB?: number;
}

/** Ticks to wait for before and after: the guest runs, and its user has seen the blackout's end. */
const settledTicks = 100;

/** Starts a guest, moves it, looks whether it is whole, and ends it. */
export async function measure(
  contender: Contender,
  kind: GuestKind,
  rom: string,
  lab: Lab,
  signal: AbortSignal,
): Promise<Measured> {
  const guest = describeGuest(kind, rom, lab.files);
  await using running = await contender.run(guest, signal);
  await using watch = await TickWatch.start(guest.output, signal);
  await untilTicked(guest, settledTicks, signal);
  const agents = contender.agents(lab);
  resetPeaks(agents);
  const cpuBefore = cpuMs(agents);
  const figures = await running.migrate();
  const cost = agents.length === 0 ? {} : { agentCpuMs: cpuMs(agents) - cpuBefore, agentPeakMiB: peakMiB(agents) };
  await untilTicked(guest, settledTicks, signal);
  const tickBlackoutMs = await watch.blackoutMs(signal);
  return {
    ...figures,
    besidesQemuMs: figures.wholeMs - figures.qemuTotalMs,
    controlMs: figures.controlSourceMs + figures.controlDestMs,
    ...(tickBlackoutMs === undefined ? {} : { tickBlackoutMs }),
    ...cost,
  };
}

const columns: readonly { readonly heading: string; readonly of: keyof Measured; readonly digits: number }[] = [
  { heading: 'whole ms', of: 'wholeMs', digits: 0 },
  { heading: 'besides QEMU ms', of: 'besidesQemuMs', digits: 0 },
  { heading: 'blackout ms', of: 'blackoutMs', digits: 1 },
  { heading: 'by ticks ms', of: 'tickBlackoutMs', digits: 1 },
  { heading: 'control plane ms', of: 'controlMs', digits: 2 },
  { heading: 'agents’ CPU ms', of: 'agentCpuMs', digits: 0 },
  { heading: 'agents’ peak MiB', of: 'agentPeakMiB', digits: 0 },
];

/** A row for each contender, median and range in each cell. */
export function rowsOf(results: ReadonlyMap<string, readonly Measured[]>): string[][] {
  const rows = [...results].map(([name, rounds]) => [
    name,
    ...columns.map(({ of, digits }) => formatSummary(summaryOf(rounds, of), digits)),
  ]);
  return [['', ...columns.map(({ heading }) => heading)], ...rows];
}

function summaryOf(rounds: readonly Measured[], of: keyof Measured): Summary | undefined {
  return summarize(rounds.map((round) => round[of]).filter((value) => value !== undefined));
}
