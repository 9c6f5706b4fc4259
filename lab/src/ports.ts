/** TCP ports of a lab: below the range that the kernel hands out, so that an agent finds its own again after a restart. */
import { randomInt } from 'node:crypto';
import { readdirSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { labParent } from './directory.ts';

/** Ports of one host, all bindable when they were taken. */
export interface HostPorts {
  readonly source: number;
  readonly dest: number;
  /** First and last, inclusive. */
  readonly migration: readonly [number, number];
}

const first = 20_000;
/** Enough for sixty guests that arrive at once. */
const blockSize = 64;
const blocks = 190; // up to 32159; Linux hands out 32768 and above
const attemptsMax = 100;

/** Takes the ports of a host of the lab in `dir`. */
export async function takePorts(dir: string, signal: AbortSignal): Promise<HostPorts> {
  const start = await takeBlock(dir, signal);
  return { source: start, dest: start + 1, migration: [start + 2, start + blockSize - 1] };
}

/**
 * Takes a block of 64 ports for the lab in `dir` and gives the first. Labs of several processes and users share the machine: a symbolic link in the
 * temporary directory, made atomically, says which lab has which block.
 */
export async function takeBlock(dir: string, signal: AbortSignal): Promise<number> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    signal.throwIfAborted();
    const start = first + randomInt(blocks) * blockSize;
    if (!take(start, dir)) continue;
    const ports = Array.from({ length: blockSize }, (_, index) => start + index);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) return start;
    unlinkSync(linkOf(start));
  }
  throw new Error(`no ${blockSize} free TCP ports in a row between ${first} and ${first + blocks * blockSize - 1}`);
}

/** Gives back every block that the lab in `dir` has. */
export function releasePorts(dir: string): void {
  const parent = labParent();
  for (const name of readdirSync(parent).filter((entry) => /^ferry-ports-\d+$/.test(entry))) {
    try {
      if (readlinkSync(join(parent, name)) === dir) unlinkSync(join(parent, name));
    } catch {
      // Somebody else's, and gone meanwhile.
    }
  }
}

function linkOf(start: number): string {
  return join(labParent(), `ferry-ports-${start}`);
}

function take(start: number, dir: string): boolean {
  try {
    symlinkSync(dir, linkOf(start));
    return true;
  } catch {
    return false; // another lab has it
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
