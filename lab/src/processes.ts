/** Processes by what /proc says of them: a pid alone may be another process by now. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** One process of this machine, told from a later one with the same pid by when it started. */
export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startTime: string;
}

/**
 * The process that has this pid now, or undefined: none, or a zombie, which does nothing any more. The first thread may be a zombie while the others
 * still end: until then the process's sockets and locks are held (proc_pid_stat(5): `num_threads`).
 */
export function processOf(pid: number): ProcessId | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  const stat = read(`/proc/${pid}/stat`);
  // The command's name is in parentheses and may contain anything, parentheses and spaces too: fields count from the last one.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, threads, startTime] = [fields?.[0], fields?.[17], fields?.[19]];
  if (state === undefined || startTime === undefined || state === 'X') return undefined;
  if (state === 'Z' && Number(threads) <= 1) return undefined;
  return { pid, startTime };
}

/** Whether exactly this process still runs. */
export function isRunning(process: ProcessId): boolean {
  return processOf(process.pid)?.startTime === process.startTime;
}

/** Sends a signal to exactly this process; false if it is gone. */
export function signalProcess(target: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isRunning(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/** Waits until none of these processes runs; throws `signal.reason` if that comes first. */
export async function untilGone(processes: readonly ProcessId[], signal: AbortSignal): Promise<void> {
  // Nothing in /proc can be waited for (inotify is silent there) and these are not our children after a restart: look again.
  while (processes.some(isRunning)) await delay(5, undefined, { signal }).catch(rethrowReason(signal));
}

/** `delay` rejects with an AbortError of its own; callers are told the signal's reason. */
function rethrowReason(signal: AbortSignal): (error: unknown) => never {
  return (error) => {
    throw signal.aborted ? signal.reason : error;
  };
}

/**
 * Every running process of the lab in `dir`: those that carry `FERRY_LAB=dir` in their environment (agents, Redis, and whatever they
 * started, also in the moment between fork and exec), and QEMUs and Redis servers with a file of `dir` on their command line. An editor or
 * `tail` that a person opened on the lab's logs is neither.
 */
export function processesOfLab(dir: string): ProcessId[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => processOf(Number(entry)))
    .filter((found) => found !== undefined)
    .filter(({ pid }) => pid !== process.pid && (hasLabEnvironment(pid, dir) || isServantOf(pid, dir)));
}

function hasLabEnvironment(pid: number, dir: string): boolean {
  return (read(`/proc/${pid}/environ`) ?? '').split('\0').includes(`FERRY_LAB=${dir}`);
}

function isServantOf(pid: number, dir: string): boolean {
  const [program, ...args] = (read(`/proc/${pid}/cmdline`) ?? '').split('\0');
  return (
    /^(qemu-system-.+|redis-server)$/.test(basename(program ?? '')) &&
    args.some((argument) => argument.includes(`${dir}/`))
  );
}

/** A process may end, or belong to somebody else, while it is looked at: then there is nothing to read. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
