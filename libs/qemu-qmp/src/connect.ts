import { once } from 'node:events';
import { type FSWatcher, watch } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isNativeError } from 'node:util/types';
import { QmpError } from './errors.ts';

/** The pause between attempts doubles from the first to the second of these; the directory changing cuts it short. */
const pauseMsMin = 1;
const pauseMsMax = 50;

/**
 * A connection to a monitor's UNIX socket. QEMU makes the socket while it starts: until it is there and listens, this waits,
 * woken by the directory changing. Throws QmpError `qemu-unreachable` when waiting can't help, or the signal's reason.
 */
export async function connectSocket(path: string, signal: AbortSignal): Promise<Socket> {
  let socket = await attempt(path, signal);
  if (socket) return socket;
  using directory = new DirectoryWatch(dirname(path));
  for (let pauseMs = pauseMsMin; ; pauseMs = Math.min(2 * pauseMs, pauseMsMax)) {
    const changed = directory.change();
    // Watched since before this attempt, or a socket made right after it would go unseen.
    socket = await attempt(path, signal);
    if (socket) return socket;
    await delay(pauseMs, undefined, { signal: AbortSignal.any([signal, changed]) }).catch(() => undefined);
    // The file is there before QEMU listens on it, so after a change the next attempts come fast.
    if (changed.aborted) pauseMs = pauseMsMin;
  }
}

/** One attempt: undefined when nobody listens there yet. */
async function attempt(path: string, signal: AbortSignal): Promise<Socket | undefined> {
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
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'EAGAIN') return undefined;
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

/** Tells when a directory changes. One that can't be watched, because it isn't there yet, never does. */
class DirectoryWatch implements Disposable {
  readonly #watcher: FSWatcher | undefined;
  #change = new AbortController();

  constructor(directory: string) {
    try {
      this.#watcher = watch(directory, { persistent: false }, () => this.#change.abort());
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      this.#watcher = undefined;
    }
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
