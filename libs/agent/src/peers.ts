/** Connections to other hosts' agents, kept open, so that nothing is set up when a guest waits. */
import type { X509Certificate } from 'node:crypto';
import type { Client } from '@grpc/grpc-js';
import { callerOf, nameOf, type RoleGrant } from './callers.ts';
import { dial } from './client.ts';
import { AgentError } from './errors.ts';
import type { Credentials } from './tls.ts';

/** Connections kept; the one unused for longest makes room. */
const connectionsMax = 256;

interface Peer {
  readonly client: Client;
  /** The host that its certificate is for, once a connection was made. */
  host: string | undefined;
}

export class Peers implements Disposable {
  readonly #credentials: Credentials;
  readonly #grants: readonly RoleGrant[];
  readonly #peers = new Map<string, Peer>();

  /** `grants` says what certificates are for that do not say it themselves. */
  constructor(credentials: Credentials, grants: readonly RoleGrant[]) {
    this.#credentials = credentials;
    this.#grants = grants;
  }

  /** A client for `invoke` and `standBy` of the agent at HOST:PORT, and of nothing else that has a certificate. Throws MigrationError invalid-request. */
  at(address: string): Client {
    const peer = this.#peers.get(address) ?? this.#dial(address);
    this.#peers.delete(address);
    this.#peers.set(address, peer);
    for (const [oldest, unused] of this.#peers) {
      if (this.#peers.size <= connectionsMax) break;
      this.#peers.delete(oldest);
      unused.client.close();
    }
    return peer.client;
  }

  /** The host whose agent has answered at HOST:PORT, by its certificate; undefined where there is no TLS, or no connection yet. */
  hostAt(address: string): string | undefined {
    return this.#peers.get(address)?.host;
  }

  #dial(address: string): Peer {
    const refuse = (certificate: X509Certificate): Error | undefined => {
      const server = callerOf(address, certificate, this.#grants);
      peer.host = server.host;
      if (server.host !== undefined) return undefined;
      return new AgentError(
        'not-allowed',
        `the certificate at ${address} (${nameOf(server)}) is no agent’s: issue one with the subject alternative name URI:spiffe://DOMAIN/ferry/agent/HOST, or list its name in FERRY_ROLES`,
      );
    };
    const client = dial(address, { ...this.#credentials, client: this.#credentials.clientOf(refuse) });
    const peer: Peer = { client, host: undefined };
    return peer;
  }

  [Symbol.dispose](): void {
    for (const { client } of this.#peers.values()) client.close();
  }
}
