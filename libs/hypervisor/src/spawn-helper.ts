/** The process of spawner.ts: starts what it is told to, until its agent has gone. It imports little, so that it stays small. */
import { closeSync, openSync } from 'node:fs';
import type { ProcessIdentity } from './qemu-process.ts';
import { spawnDetached, type SpawnOrder } from './spawn-detached.ts';

export interface HelperOrder extends SpawnOrder {
  readonly id: number;
  /** The file that its output is appended to. */
  readonly log: string;
}

/** Of the order with that id. A `started` comes first. */
export type HelperReply =
  | { readonly id: number; readonly what: 'started'; readonly process: ProcessIdentity | undefined }
  | { readonly id: number; readonly what: 'ended'; readonly how: string };

const tell = (reply: HelperReply): void => void process.send?.(reply, undefined, undefined, () => undefined);

function carryOut({ id, log, ...order }: HelperOrder): void {
  let fd: number | undefined;
  try {
    fd = openSync(log, 'a', 0o600);
    tell({ id, what: 'started', process: spawnDetached(order, fd, (how) => tell({ id, what: 'ended', how })) });
  } catch (error) {
    tell({ id, what: 'started', process: undefined });
    tell({ id, what: 'ended', how: String(error) });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

process.on('message', carryOut);
process.send?.('ready', undefined, undefined, () => undefined);
// What it has started goes on.
process.on('disconnect', () => process.exit());
