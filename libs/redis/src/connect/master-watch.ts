import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Log } from './log.ts';

/** How often the sentinels are asked, ms. */
const lookMs = 1_000;

/** What one sentinel says of a master: HOST:PORT, and how recent that is. */
interface Answer {
  readonly address: string;
  readonly epoch: number;
}

export interface MasterWatchOptions {
  /** One client for each sentinel; they are ended with the watch. */
  readonly sentinels: readonly Redis[];
  readonly master: string;
  /** HOST:PORT of the master that is connected to, as a sentinel named it; undefined while there is none. */
  readonly connectedTo: () => string | undefined;
  readonly leave: () => void;
  readonly log: Log;
}

/**
 * Asks the sentinels now and then who the master is, and leaves one that they have replaced: it may be cut off from them and go on answering
 * us. (ioredis' own `failoverDetector` hears of a fail-over only while it is subscribed, and one that it hears of while connecting ends the client for good.)
 */
export class MasterWatch implements Disposable {
  readonly #options: MasterWatchOptions;
  readonly #over = new AbortController();

  constructor(options: MasterWatchOptions) {
    this.#options = options;
    void this.#look();
  }

  async #look(): Promise<void> {
    const { sentinels, master, connectedTo, leave, log } = this.#options;
    const { signal } = this.#over;
    for (;;) {
      await delay(lookMs, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      const told = await Promise.all(sentinels.map((sentinel) => ask(sentinel, master)));
      // One that is cut off from the others still names the old one: the highest epoch counts. (Not one of an earlier look: epochs
      // begin anew when all sentinels are set up anew.)
      const newest = told.filter((each) => each !== undefined).toSorted((a, b) => b.epoch - a.epoch)[0];
      const current = connectedTo();
      if (newest === undefined || current === undefined || newest.address === current) continue;
      log.warn({ master: newest.address, left: current }, 'the sentinels name another master: leaving the old one');
      leave();
    }
  }

  [Symbol.dispose](): void {
    this.#over.abort();
    for (const sentinel of this.#options.sentinels) sentinel.disconnect();
  }
}

async function ask(sentinel: Redis, master: string): Promise<Answer | undefined> {
  const reply: unknown = await sentinel.call('SENTINEL', 'MASTER', master).catch(() => undefined);
  if (!Array.isArray(reply)) return undefined;
  const field = (name: string): unknown => reply[reply.indexOf(name) + 1];
  const [ip, port, epoch] = [field('ip'), field('port'), Number(field('config-epoch'))];
  return typeof ip === 'string' && typeof port === 'string' && Number.isSafeInteger(epoch)
    ? { address: `${ip}:${port}`, epoch }
    : undefined;
}
