/** A process of this host, named so that another one with the same pid later on is never taken for it. */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { errnoOf } from './errno.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, field 22 of /proc/PID/stat (proc(5)). */
  readonly startTime: string;
}

interface Stat {
  readonly state: string;
  /** Of the whole process, the first one counted also while it is a zombie. */
  readonly threads: number;
  readonly startTime: string;
  /** It will be gone: its files are closed before its state says so (do_exit, PF_EXITING). */
  readonly exiting: boolean;
}

function parseStat(text: string): Stat {
  // The command in parentheses may hold anything, so fields count from the last parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state = '', threads, startTime = ''] = [fields[0], fields[17], fields[19]];
  return { state, threads: Number(threads), startTime, exiting: (Number(fields[6]) & 4) !== 0 };
}

function statOf(pid: number): Stat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return undefined;
  }
}

/** Who has this pid now; undefined if nobody, or only a zombie that waits for its parent. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  return identifyNow(pid);
}

/** Likewise, without a turn of the event loop. */
export function identifyNow(pid: number): ProcessIdentity | undefined {
  const stat = statOf(pid);
  return stat === undefined || isGone(stat) ? undefined : { pid, startTime: stat.startTime };
}

/** The state is that of the first thread: while others have not ended, the process executes, and holds its files. */
const isGone = ({ state, threads }: Stat): boolean => state === 'X' || (state === 'Z' && threads <= 1);

/** Whether this very process still runs. A zombie does not once all its threads have ended: it executes nothing and holds no file. */
export async function isAlive(process: ProcessIdentity): Promise<boolean> {
  const stat = statOf(process.pid);
  return stat !== undefined && stat.startTime === process.startTime && !isGone(stat);
}

/** Whether it runs and is not about to end; without a turn of the event loop (some 20 µs), for the moment before an act that cannot be undone. */
export function isAliveNow(process: ProcessIdentity): boolean {
  const stat = statOf(process.pid);
  return stat !== undefined && stat.startTime === process.startTime && !isGone(stat) && !stat.exiting;
}

/**
 * The process whose pid a file names, if its command line has these arguments one after the other. A pid that another process has been given since is
 * nobody's. Throws what reading the file throws.
 */
export async function processOfPidFile(path: string, args: readonly string[]): Promise<ProcessIdentity | undefined> {
  const pid = Number((await readFile(path, 'latin1')).trim());
  const process = Number.isSafeInteger(pid) && pid > 0 ? await identify(pid) : undefined;
  if (process === undefined) return undefined;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  const isIt = `\0${commandLine}`.includes(`\0${args.join('\0')}\0`);
  // It is still the one whose command line was read.
  return isIt && (await isAlive(process)) ? process : undefined;
}

/** Waits until the process is gone. Throws the signal's reason. */
export async function waitGone(process: ProcessIdentity, signal: AbortSignal): Promise<void> {
  // /proc tells nobody when a process that is not our child ends; its monitor's end does, and is what callers wait for first.
  for (let pause = 1; await isAlive(process); pause = Math.min(pause * 2, 50)) {
    await delay(pause, undefined, { signal });
  }
}

/** Sends a signal to this very process; gives false if it is gone already. */
export async function send(target: ProcessIdentity, signalName: NodeJS.Signals): Promise<boolean> {
  if (!(await isAlive(target))) return false;
  try {
    process.kill(target.pid, signalName);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}
