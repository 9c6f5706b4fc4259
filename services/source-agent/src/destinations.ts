/** The destination agents that this host sends guests to. A connection stays open, so that nothing is set up inside the blackout. */
import assert from 'node:assert/strict';
import { type Credentials, dial, invoke, standBy, type StandingBy } from '@ferry/agent';
import type { DestCalls } from '@ferry/migration';
import {
  DestAgentClient,
  DestAgentService,
  type GetReady,
  type StandByRequest,
  type StandByResponse,
} from '@ferry/proto/ferry/v1/dest_agent';

/** Questions asked while memory flows, so that the first of those in the blackout is not the first at all. */
const rehearsals = 30;
/** Connections kept; the one unused for longest makes room. */
const connectionsMax = 256;

/** A destination agent, as the driver of one migration sees it. */
export interface Destination extends DestCalls {
  /** The guest has stopped: Finish will be called in a moment. */
  getReady(names: GetReady): void;
}

export class Destinations implements Disposable {
  readonly #credentials: Credentials;
  readonly #clients = new Map<string, DestAgentClient>();

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
  }

  /** One migration's calls to the agent at HOST:PORT. Throws MigrationError invalid-request. */
  calls(address: string): Destination {
    const client = this.#client(address);
    let standing: StandingBy<StandByRequest, StandByResponse> | undefined;
    return {
      prepare: async (request, signal) => {
        const prepared = await invoke(client, DestAgentService.prepare, request, signal);
        standing = standBy(client, DestAgentService.standBy, ({ response }) => response?.$case === 'finished');
        const { migrationId } = request;
        standing.warmUp({ request: { $case: 'getReady', value: { migrationId, domain: '' } } }, rehearsals);
        return prepared;
      },
      getReady: (names) => standing?.warmUp({ request: { $case: 'getReady', value: names } }),
      finish: async (request, signal) => {
        const ahead = standing;
        standing = undefined;
        if (ahead?.usable !== true) return invoke(client, DestAgentService.finish, request, signal);
        const { response } = await ahead.ask({ request: { $case: 'finish', value: request } }, signal);
        assert(response?.$case === 'finished');
        return response.value;
      },
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
