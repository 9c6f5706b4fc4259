/** A destination agent, as the driver of one migration sees it. */
import assert from 'node:assert/strict';
import { invoke, invokeAgain, isUnconnected, type Peers, standBy, type StandingBy } from '@ferry/agent';
import type { DestCalls } from '@ferry/migration';
import type {
  AbortMigrationRequest,
  AskRequest,
  AskResponse,
  GetMigrationRequest,
  GetMigrationResponse,
} from '@ferry/proto/ferry/v1/migration';
import {
  DestAgentService,
  DestPeerService,
  type CheckReadyRequest,
  type CheckReadyResponse,
  type GetReady,
  type StandByRequest,
  type StandByResponse,
} from '@ferry/proto/ferry/v1/dest_agent';

/** Questions asked while memory flows, so that the first of those in the blackout is not the first at all. */
const rehearsals = 30;
const rehearsed = new WeakSet<object>();

export interface Destination extends DestCalls {
  /** The guest has stopped: Finish will be called in a moment. */
  getReady(names: GetReady): void;
  /** Throws what keeps the destination from letting the guest run at this moment. */
  checkReady(request: CheckReadyRequest, signal: AbortSignal): Promise<CheckReadyResponse>;
  /** The migration as it is known there. */
  getMigration(names: GetMigrationRequest, signal: AbortSignal): Promise<GetMigrationResponse>;
  /** Gives it up there. */
  abortMigration(names: AbortMigrationRequest, signal: AbortSignal): Promise<unknown>;
  /** The host whose agent has answered, by its certificate; undefined where there is none, or no connection yet. */
  servedBy(): string | undefined;
  /** How it was decided there. */
  ask(request: AskRequest, signal: AbortSignal): Promise<AskResponse>;
}

/** One migration's calls to the agent at HOST:PORT. Throws MigrationError invalid-request. */
export function destinationAt(peers: Peers, address: string): Destination {
  const client = peers.at(address);
  let standing: StandingBy<StandByRequest, StandByResponse> | undefined;
  return {
    prepare: async (request, signal) => {
      const prepared = await invokeAgain(client, DestAgentService.prepare, request, signal);
      standing = standBy(client, DestAgentService.standBy, ({ response }) => response?.$case === 'finished');
      const { migrationId } = request;
      const times = rehearsed.has(client) ? 1 : rehearsals;
      rehearsed.add(client);
      standing.warmUp({ request: { $case: 'getReady', value: { migrationId, domain: '' } } }, times);
      return prepared;
    },
    checkReady: (request, signal) => invokeAgain(client, DestPeerService.checkReady, request, signal),
    getMigration: (names, signal) => invoke(client, DestAgentService.getMigration, names, signal),
    abortMigration: (names, signal) => invoke(client, DestAgentService.abortMigration, names, signal),
    ask: (request, signal) => invokeAgain(client, DestPeerService.ask, request, signal),
    servedBy: () => peers.hostAt(address),
    getReady: (names) => standing?.warmUp({ request: { $case: 'getReady', value: names } }),
    finish: async (request, signal) => {
      const ahead = standing;
      standing = undefined;
      if (ahead?.usable !== true) return invokeAgain(client, DestAgentService.finish, request, signal);
      const asked = ahead.ask({ request: { $case: 'finish', value: request } }, signal);
      // One that broke off may have been carried out: a second one is told so.
      const answered = await asked.catch((error: unknown) => {
        if (signal.aborted || !isUnconnected(error)) throw error;
      });
      if (answered === undefined) return invokeAgain(client, DestAgentService.finish, request, signal);
      const { response } = answered;
      assert(response?.$case === 'finished');
      return response.value;
    },
  };
}
