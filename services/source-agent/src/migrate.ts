/** A whole migration, driven by the source agent: peer to peer. The caller only watches, and may hang up. */
import { knownMigration, type Ongoing, refuseOtherRequest, requestDigest, requesterNow } from '@ferry/agent';
import { JobError } from '@ferry/jobs';
import { type DestCalls, driveMigration, MigrationError, type Phase, type SourceCalls } from '@ferry/migration';
import { Protocol, type MigrationEvent } from '@ferry/proto/ferry/v1/migration';
import type { MigrateRequest } from '@ferry/proto/ferry/v1/source_agent';
import { failureOf } from '@ferry/rpc';
import { locate, type SourceAgent } from './agent.ts';
import { begin } from './begin.ts';
import { confirm } from './confirm.ts';
import { addDestStatistics } from './decision.ts';
import { dumpXml } from './dump-xml.ts';
import { finishInTime } from './finish-in-time.ts';
import { perform } from './perform.ts';

/** The migration's events from the beginning; starts it if it is not known yet. */
export async function migrate(
  agent: SourceAgent,
  request: MigrateRequest,
  signal: AbortSignal,
): Promise<AsyncIterable<MigrationEvent>> {
  const names = await locate(agent, request);
  const recorded = await earlier(agent, { migrationId: request.migrationId, domain: names.domainUuid }, signal);
  // Somebody else may have asked for it meanwhile.
  const known = recorded ?? agent.ongoing.find(request.migrationId);
  const asked = digestOf(names.domainUuid, request);
  if (known === undefined) return start(agent, request, names, asked).watch(signal);
  refuseOtherRequest(known.asked, asked, `migration ${request.migrationId}`);
  return known.watch(signal);
}

/** The migration of that id, also one that ended before this agent was restarted. */
async function earlier(
  agent: SourceAgent,
  names: { readonly migrationId: string; readonly domain: string },
  signal: AbortSignal,
): Promise<Ongoing | undefined> {
  const { ongoing, jobs, config } = agent;
  return knownMigration({ ongoing, jobs, side: 'source', host: config.host.name }, names, signal).catch((error) => {
    // Where Redis cannot be asked the migration does not begin, and its events say so.
    if (error instanceof JobError) return undefined;
    throw error;
  });
}

function digestOf(domainUuid: string, request: MigrateRequest): Uint8Array {
  const { destination, protocol, migrationUri, options, domainXml = '' } = request;
  return requestDigest({ domainUuid, destination, protocol, migrationUri, options, domainXml });
}

function start(
  agent: SourceAgent,
  request: MigrateRequest,
  names: { domainUuid: string; domainName: string },
  asked: Uint8Array,
): Ongoing {
  const { migrationId } = request;
  const protocol = request.protocol === Protocol.PROTOCOL_V2 ? 2 : 3;
  const dest = agent.destinationAt(request.destination);
  const ongoing = agent.ongoing.open({ migrationId, ...names, side: 'source', protocol, requester: requesterNow() });
  ongoing.asked = asked;
  ongoing.peerAddress = request.destination;
  ongoing.onStopped = () => dest.getReady({ migrationId, domain: names.domainUuid });
  const source = ownCalls(agent, ongoing, request.destination);
  const drive = {
    migrationId,
    domain: names.domainUuid,
    protocol,
    migrationUri: request.migrationUri,
    options: request.options,
    domainXml: request.domainXml ?? '',
  } as const;
  const driving = ongoing.within(() =>
    driveMigration(source, observed(agent, ongoing, dest), drive, ongoing.abandonSignal),
  );
  driving.catch(async (error: unknown) => {
    const held = agent.migrations.find(migrationId);
    // Nobody drives it any more: what could not be settled by the last phases is settled now, without waiting until its time is over.
    if (held !== undefined) {
      held.driven = false;
      return agent.migrations.giveUp(held, error instanceof Error ? error : new Error(String(error)));
    }
    // Phases of our own have told already how it ended; this is for what failed before there was a job.
    const failure = failureOf(ongoing.abandonSignal.aborted ? ongoing.abandonSignal.reason : error, {
      side: 'source',
      phase: undefined,
    });
    ongoing.end(failure.reason === 'migration-cancelled' ? 'cancelled' : 'failed', failure);
  });
  return ongoing;
}

/** The source's phases, called in this process. */
function ownCalls(agent: SourceAgent, ongoing: Ongoing, address: string): SourceCalls {
  const { migrationId } = ongoing.start;
  /** While we drive, the job is not abandoned between its phases. */
  const driven = <Response>(response: Response): Response => {
    const held = agent.migrations.find(migrationId);
    if (held !== undefined) {
      held.driven = true;
      held.state.destinationAddress ||= address;
    }
    return response;
  };
  return {
    begin: async (request, signal) => driven(await begin(agent, request, signal)),
    dumpXml: (request, signal) => dumpXml(agent, request, signal),
    perform: async (request, signal) => driven(await perform(agent, request, signal)),
    confirm: (request, signal) => confirm(agent, request, signal),
    outcome: (_request, signal) => outcomeOf(agent, ongoing, signal),
  };
}

/** v2: makes the decision or learns it, as Confirm does in v3, and waits until this agent has acted on it. */
async function outcomeOf(agent: SourceAgent, ongoing: Ongoing, signal: AbortSignal) {
  const { migrationId, domainName } = ongoing.start;
  const held = agent.migrations.find(migrationId);
  if (!ongoing.ended && held === undefined) {
    throw new MigrationError('not-migrating', `migration ${migrationId} had not begun on the source`);
  }
  const cause = new MigrationError('destination-refused', `the destination has not taken over domain ${domainName}`);
  if (held !== undefined) await agent.migrations.giveUp(held, cause);
  for await (const { event } of ongoing.follow(signal)) {
    if (event?.$case === 'ended') return event.value.outcome;
  }
  return ongoing.outcome;
}

/** The destination's phases, with their events, and with its failure kept as the first cause. */
function observed(agent: SourceAgent, ongoing: Ongoing, dest: DestCalls): DestCalls {
  const { migrationId, protocol } = ongoing.start;
  const watched = async <Response>(
    phase: Phase,
    cancelled: boolean,
    call: () => Promise<Response>,
  ): Promise<Response> => {
    if (cancelled) return call();
    ongoing.phaseStarted('dest', phase);
    try {
      const response = await call();
      ongoing.phaseDone('dest', phase);
      return response;
    } catch (error) {
      const held = agent.migrations.find(migrationId);
      const cause = ongoing.abandonSignal.aborted ? ongoing.abandonSignal.reason : error;
      if (held !== undefined) held.firstFailure ??= failureOf(cause, { side: 'dest', phase });
      throw error;
    }
  };
  return {
    prepare: (request, signal) => watched('prepare', false, () => dest.prepare(request, signal)),
    finish: (request, signal) =>
      watched(protocol === 3 ? 'finish3' : 'finish2', request.cancelled, async () => {
        const held = agent.migrations.find(migrationId);
        const call = (patience: AbortSignal) => dest.finish(request, patience);
        const finishing = finishInTime(agent, held, call, request, signal);
        const finished = await finishing.finally(() => agent.gate.open(migrationId));
        // In v3 the cookie brings the same figures to Confirm.
        if (held !== undefined && protocol === 2) addDestStatistics(held, finished.statistics);
        return finished;
      }),
  };
}
