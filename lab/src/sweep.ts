/** Ends everything that belongs to a lab's directory and removes it: after a crash, or as the last step of an orderly end. */
import { readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { refuseOtherDirectories } from './directory.ts';
import { patience } from './patience.ts';
import { releasePorts } from './ports.ts';
import { isRunning, type ProcessId, processesOfLab, signalProcess, untilGone } from './processes.ts';
import { recordedQemus } from './qemus.ts';

/** How often processes may have been replaced by new ones (an agent that starts a QEMU in its last moment) before we give up. */
const roundsMax = 20;
const roundMs = 10_000;

/**
 * Ends every process of the lab in `dir`, then removes the directory and gives its ports back. Harmless when there is nothing left. Throws
 * when `dir` is not a lab's directory, or when a process does not end.
 */
export async function sweep(dir: string): Promise<void> {
  await refuseOtherDirectories(dir);
  for (let round = 0; ; round += 1) {
    const found = livingOf(dir);
    if (found.length === 0) break;
    if (round === roundsMax) throw new Error(`processes of the lab in ${dir} do not end: ${pidsOf(found)}`);
    for (const each of found) signalProcess(each, 'SIGKILL');
    await untilGone(found, patience(roundMs));
  }
  releasePorts(dir);
  await removeTree(dir);
}

/**
 * Removes a directory and all below it. Its sockets first, one by one: after a recursive `rm` has met a socket, Jest 30 on Node 24 resolves
 * no symbolic link any more and ends with an error of its own.
 */
async function removeTree(dir: string): Promise<void> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => []);
  const sockets = entries.filter((entry) => entry.isSocket());
  await Promise.all(sockets.map((socket) => unlink(join(socket.parentPath, socket.name)).catch(() => undefined)));
  await rm(dir, { recursive: true, force: true });
}

function livingOf(dir: string): ProcessId[] {
  const recorded = recordedQemus(dir).filter(isRunning);
  const seen = new Set(recorded.map(({ pid }) => pid));
  return [...recorded, ...processesOfLab(dir).filter(({ pid }) => !seen.has(pid))];
}

function pidsOf(processes: readonly ProcessId[]): string {
  return processes.map(({ pid }) => pid).join(', ');
}
