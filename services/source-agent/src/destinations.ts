/** The destination agents that this host sends guests to. A connection stays open, so that nothing is set up inside the blackout. */
import { call, dial, type TlsFiles } from '@ferry/agent';
import { type DestCalls, MigrationError } from '@ferry/migration';
import { DestAgentClient } from '@ferry/proto/ferry/v1/dest_agent';

/** Connections kept; the one unused for longest makes room. */
const connectionsMax = 256;

export class Destinations implements Disposable {
  readonly #tls: TlsFiles | undefined;
  readonly #clients = new Map<string, DestAgentClient>();

  constructor(tls: TlsFiles | undefined) {
    this.#tls = tls;
  }

  /** The calls of the agent at HOST:PORT. Throws MigrationError invalid-request. */
  calls(address: string): DestCalls {
    const client = this.#client(address);
    return {
      prepare: (request, signal) => call(client, client.prepare, request, signal),
      finish: (request, signal) => call(client, client.finish, request, signal),
    };
  }

  #client(address: string): DestAgentClient {
    if (!/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/.test(address)) {
      throw new MigrationError(
        'invalid-request',
        `destination ${JSON.stringify(address.slice(0, 100))} must be HOST:PORT of a destination agent`,
      );
    }
    const client = this.#clients.get(address) ?? dial(address, this.#tls, DestAgentClient);
    this.#clients.delete(address);
    this.#clients.set(address, client);
    for (const [oldest, unused] of this.#clients) {
      if (this.#clients.size <= connectionsMax) break;
      this.#clients.delete(oldest);
      unused.close();
    }
    return client;
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients.values()) client.close();
  }
}
