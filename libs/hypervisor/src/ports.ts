/** The ports on which this host's QEMUs wait for guests. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';

/**
 * The first port of a range on which nobody listens. QEMU takes it a moment later, and says so if somebody was faster. Throws
 * HypervisorError ports-exhausted, and the signal's reason.
 */
export async function freePort(host: string, { first, last }: PortRange, signal: AbortSignal): Promise<number> {
  for (let port = first; port <= last; port += 1) {
    signal.throwIfAborted();
    if (await isFree(host, port)) return port;
  }
  throw new HypervisorError(
    'ports-exhausted',
    `no port from ${first} to ${last} of ${host} is free: give the display one`,
  );
}

async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen({ host, port, exclusive: true }), 'listening');
    return true;
  } catch (error) {
    // Any other reason will be QEMU's to tell.
    return errnoOf(error) !== 'EADDRINUSE' && errnoOf(error) !== 'EACCES';
  } finally {
    server.close();
  }
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Hands out ports of a range, each to one migration at a time, in turn so that a port just given back rests for a while. */
export class Ports {
  readonly #range: PortRange;
  readonly #used = new Set<number>();
  #next: number;

  constructor(range: PortRange) {
    this.#range = range;
    this.#next = range.first;
  }

  /** How many are taken, and how many there are. */
  get use(): { readonly used: number; readonly limit: number } {
    const { first, last } = this.#range;
    return { used: this.#used.size, limit: last - first + 1 };
  }

  /**
   * Tries one port after the other until `listen` succeeds. `listen` gives false for a port that somebody outside uses. Throws
   * HypervisorError ports-exhausted.
   */
  async take(listen: (port: number) => Promise<boolean>): Promise<{ port: number; release: () => void }> {
    const { first, last } = this.#range;
    for (let tried = first; tried <= last; tried += 1) {
      const port = this.#next;
      this.#next = port === last ? first : port + 1;
      if (this.#used.has(port)) continue;
      this.#used.add(port);
      const release = (): void => void this.#used.delete(port);
      try {
        if (await listen(port)) return { port, release };
      } catch (error) {
        release();
        throw error;
      }
      release();
    }
    throw new HypervisorError(
      'ports-exhausted',
      `all ports from ${first} to ${last} are in use on this host: wait for a migration to end, or widen FERRY_MIGRATION_PORTS`,
    );
  }
}
