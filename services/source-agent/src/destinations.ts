/** The destination agents that this host sends guests to. A connection stays open, so that nothing is set up inside the blackout. */
import { type Credentials, dial, invoke } from '@ferry/agent';
import type { DestCalls } from '@ferry/migration';
import { DestAgentClient, DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';

/** Connections kept; the one unused for longest makes room. */
const connectionsMax = 256;

export class Destinations implements Disposable {
  readonly #credentials: Credentials;
  readonly #clients = new Map<string, DestAgentClient>();

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** The calls of the agent at HOST:PORT. Throws MigrationError invalid-request. */
  calls(address: string): DestCalls {
    const client = this.#client(address);
    return {
      prepare: (request, signal) => invoke(client, DestAgentService.prepare, request, signal),
      finish: (request, signal) => invoke(client, DestAgentService.finish, request, signal),
    };
  }

  #client(address: string): DestAgentClient {
    const client = this.#clients.get(address) ?? dial(address, this.#credentials, DestAgentClient);
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
