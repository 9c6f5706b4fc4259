/** One host of a lab: two agents, a state directory, and clients to talk to them with. */
import type { ChannelCredentials, Client } from '@grpc/grpc-js';
import { DestAgentClient } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsClient } from '@ferry/proto/ferry/v1/domains';
import { SourceAgentClient } from '@ferry/proto/ferry/v1/source_agent';
import type { AgentProcess } from './agent-process.ts';

/** What a host consists of. */
export interface HostParts {
  readonly name: string;
  readonly hostUuid: string;
  readonly stateDir: string;
  /** First and last, inclusive. */
  readonly migrationPorts: readonly [number, number];
  readonly source: AgentProcess;
  readonly dest: AgentProcess;
}

/** Clients of a host's agents, with the lab's client certificate. */
export interface HostClients {
  readonly source: SourceAgentClient;
  readonly dest: DestAgentClient;
  readonly domains: DomainsClient;
}

/** A host; its agents' addresses stay the same over restarts. */
export class LabHost implements HostParts {
  readonly name: string;
  readonly hostUuid: string;
  readonly stateDir: string;
  readonly migrationPorts: readonly [number, number];
  readonly source: AgentProcess;
  readonly dest: AgentProcess;
  readonly #credentials: ChannelCredentials;
  #clients: HostClients | undefined;

  constructor(parts: HostParts, credentials: ChannelCredentials) {
    this.name = parts.name;
    this.hostUuid = parts.hostUuid;
    this.stateDir = parts.stateDir;
    this.migrationPorts = parts.migrationPorts;
    this.source = parts.source;
    this.dest = parts.dest;
    this.source.onServing = () => this.close();
    this.dest.onServing = () => this.close();
    this.#credentials = credentials;
  }

  get sourceAddress(): string {
    return this.source.address;
  }

  get destAddress(): string {
    return this.dest.address;
  }

  /** Connected on first use; see `call` and `stream` for how to use them with promises. */
  get clients(): HostClients {
    this.#clients ??= {
      source: new SourceAgentClient(this.sourceAddress, this.#credentials, optionsFor(this.sourceAddress)),
      dest: new DestAgentClient(this.destAddress, this.#credentials, optionsFor(this.destAddress)),
      domains: new DomainsClient(this.sourceAddress, this.#credentials, optionsFor(this.sourceAddress)),
    };
    return this.#clients;
  }

  /** Closes the clients' connections; they are made anew on next use. */
  close(): void {
    const open: Client[] = this.#clients === undefined ? [] : Object.values(this.#clients);
    for (const client of open) client.close();
    this.#clients = undefined;
  }
}

/** Agents are killed and restarted under these clients: look again soon. */
const channelOptions = { 'grpc.initial_reconnect_backoff_ms': 50, 'grpc.max_reconnect_backoff_ms': 500 };

/** Node 24's check of certificates refuses every IPv6 address; the lab's certificates are for localhost too. */
const optionsFor = (address: string) =>
  address.startsWith('[') ? { ...channelOptions, 'grpc.ssl_target_name_override': 'localhost' } : channelOptions;
