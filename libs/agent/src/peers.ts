/** Connections to other hosts' agents, kept open, so that nothing is set up when a guest waits. */
import type { Client } from '@grpc/grpc-js';
import { dial } from './client.ts';
import type { Credentials } from './tls.ts';

/** Connections kept; the one unused for longest makes room. */
const connectionsMax = 256;

export class Peers implements Disposable {
  readonly #credentials: Credentials;
  readonly #clients = new Map<string, Client>();

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** A client for `invoke` and `standBy` of the agent at HOST:PORT. Throws MigrationError invalid-request. */
  at(address: string): Client {
    const client = this.#clients.get(address) ?? dial(address, this.#credentials);
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
