import { once } from 'node:events';
import { type FSWatcher, watch } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isNativeError } from 'node:util/types';
import { QmpError } from './errors.ts';

/** The pause between attempts doubles from the first to the second of these; the socket's file being made cuts it short. */
const pauseMsMin = 1;
const pauseMsMax = 50;

/**
 * A connection to a monitor's UNIX socket. QEMU makes the socket while it starts: until it is there and listens, this waits,
 * woken by its file being made. Throws QmpError `qemu-unreachable` when waiting can't help, or the signal's reason.
 */
export async function connectSocket(path: string, signal: AbortSignal): Promise<Socket> {
  const socket = await attempt(path, signal);
  if (typeof socket !== 'string') return socket;
  using file = new FileWatch(path);
  let pauseMs = pauseMsMin;
  for (;;) {
    const changed = file.change();
    // Watched since before this attempt, or a socket made right after it would go unseen.
    const found = await attempt(path, signal);
    if (typeof found !== 'string') return found;
    // Attempts take processor time from the QEMU that is starting: while there is no file, being told is enough. QEMU listens on it
    // a moment after it has made it, so then the attempts come fast.
    const wait = found === 'absent' && file.watched ? pauseMsMax : pauseMs;
    await delay(wait, undefined, { signal: AbortSignal.any([signal, changed]) }).catch(() => undefined);
    pauseMs = changed.aborted ? pauseMsMin : Math.min(2 * pauseMs, pauseMsMax);
  }
}

/** One attempt; a word when nobody listens there yet: whether there is a file at all. */
async function attempt(path: string, signal: AbortSignal): Promise<Socket | 'absent' | 'deaf'> {
  signal.throwIfAborted();
  const socket = createConnection(path);
  try {
    await once(socket, 'connect', { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    const code = isNativeError(error) && 'code' in error ? String(error.code) : String(error);
    // EAGAIN: the queue of waiting clients is full (QEMU's holds one or two), which also passes.
    if (code === 'ENOENT') return 'absent';
    if (code === 'ECONNREFUSED' || code === 'EAGAIN') return 'deaf';
    throw new QmpError('qemu-unreachable', `cannot connect to QEMU's monitor ${path}: ${code}`, { cause: error });
  }
}

/** The first knock comes well after QEMU usually answers; each further one after twice the time. */
const knockAfterMs = 100;
const knocksMax = 6;

/**
 * Knocks on a monitor's socket until disposed, by connecting once more. A starting QEMU moves its listening socket from its main
 * loop to its monitor thread; a client that comes in that moment may be seen by both: the thread accepts it, and the
 * main loop blocks in accept(2), and with it all of QEMU, until another client comes. Seen with 7.2 in one of 2000 launches,
 * both threads on one CPU. Where QEMU is only slow, the knock waits in the queue and is dropped in its turn.
 */
export function knockUntilAnswered(path: string): Disposable {
  let knock: Socket | undefined;
  let knocks = 0;
  let timer: NodeJS.Timeout | undefined;
  const later = () => {
    if (knocks < knocksMax) timer = setTimeout(again, knockAfterMs * 2 ** knocks);
  };
  const again = () => {
    knocks += 1;
    knock?.destroy();
    knock = createConnection(path);
    knock.on('error', () => {
      // Nobody there, or a full queue: there is nothing to wake, or it will be woken.
    });
    later();
  };
  later();
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      knock?.destroy();
    },
  };
}

/** Tells when a file is made or removed. One whose directory isn't there yet can't be watched. */
class FileWatch implements Disposable {
  readonly #watcher: FSWatcher | undefined;
  #change = new AbortController();

  constructor(path: string) {
    const name = basename(path);
    try {
      this.#watcher = watch(dirname(path), { persistent: false }, (_event, changed) => {
        if (changed === null || changed === name) this.#change.abort();
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      this.#watcher = undefined;
    }
  }

  get watched(): boolean {
    return this.#watcher !== undefined;
  }

  /** Aborts at the next change after this call. */
  change(): AbortSignal {
    this.#change = new AbortController();
    return this.#change.signal;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
  }
}
