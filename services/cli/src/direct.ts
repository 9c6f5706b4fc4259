/** The reference controller: drives the protocol itself, one RPC at a time, as a controller of your own would. */
import { setTimeout as delay } from 'node:timers/promises';
import { call, isServiceError, stream } from '@ferry/rpc';
import { type DestCalls, driveMigration, type SourceCalls } from '@ferry/migration';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import {
  type MigrationEvent,
  type MigrationOptions,
  type MigrationStatistics,
  Outcome,
  Phase,
  Side,
} from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import type { Host } from './hosts.ts';

/** What to move where. */
export interface DirectMigration {
  readonly migrationId: string;
  readonly domain: string;
  readonly from: Host;
  readonly to: Host;
  readonly protocol: 2 | 3;
  readonly options: MigrationOptions;
  /** For the destination, instead of the guest's own. */
  readonly domainXml: string | undefined;
}

/** v2's source settles within this after Finish; see driveMigration. */
const lookEveryMs = 100;

/**
 * Drives a migration to its end, telling of each phase as the caller sees it, and of memory and switchover as the source agent tells. Returns
 * the figures when the guest is on the destination. Throws the first cause otherwise. `signal` gives up what has not been sent yet.
 */
export async function driveDirect(
  migration: DirectMigration,
  emit: (event: MigrationEvent) => void,
  signal: AbortSignal,
): Promise<MigrationStatistics | undefined> {
  const { migrationId, domain, from, to, protocol, options, domainXml } = migration;
  const { SIDE_SOURCE, SIDE_DEST } = Side;
  const over = new AbortController();
  const watching: Promise<void>[] = [];
  let figures: MigrationStatistics | undefined;
  const source = from.source.client;
  const dest = to.dest.client;

  const phase = async <Response>(side: Side, which: Phase, act: () => Promise<Response>): Promise<Response> => {
    const began = performance.now();
    emit(changed(side, which, false, 0));
    const response = await act();
    emit(changed(side, which, true, performance.now() - began));
    return response;
  };
  const [performPhase, finishPhase] =
    protocol === 3 ? [Phase.PHASE_PERFORM3, Phase.PHASE_FINISH3] : [Phase.PHASE_PERFORM2, Phase.PHASE_FINISH2];

  const sourceCalls: SourceCalls = {
    begin: (request, patience) =>
      phase(SIDE_SOURCE, Phase.PHASE_BEGIN3, () => call(source, SourceAgentService.begin, request, patience)),
    dumpXml: (request, patience) => call(source, SourceAgentService.dumpXml, request, patience),
    perform: (request, patience) =>
      phase(SIDE_SOURCE, performPhase, () => {
        watching.push(watchMemory(migration, emit, AbortSignal.any([patience, over.signal])));
        return call(source, SourceAgentService.perform, request, patience);
      }),
    confirm: (request, patience) =>
      phase(SIDE_SOURCE, request.cancelled ? Phase.PHASE_CONFIRM3_CANCELLED : Phase.PHASE_CONFIRM3, async () => {
        const confirmed = await call(source, SourceAgentService.confirm, request, patience);
        figures = confirmed.statistics;
        return confirmed;
      }),
    outcome: async (request, patience) => {
      const ended = await untilEnded(migration, request, patience);
      figures = ended.statistics;
      return ended.outcome;
    },
  };
  const destCalls: DestCalls = {
    prepare: (request, patience) =>
      phase(SIDE_DEST, Phase.PHASE_PREPARE, () => call(dest, DestAgentService.prepare, request, patience)),
    finish: (request, patience) =>
      request.cancelled
        ? call(dest, DestAgentService.finish, request, patience)
        : phase(SIDE_DEST, finishPhase, () => call(dest, DestAgentService.finish, request, patience)),
  };

  try {
    const drive = { migrationId, domain, protocol, migrationUri: '', options, domainXml };
    const finished = await driveMigration(sourceCalls, destCalls, drive, signal);
    return joined(figures, finished?.statistics);
  } finally {
    over.abort(new Error('the migration is over'));
    await Promise.all(watching);
  }
}

/** v2 has no cookie that would bring the destination's figures to the source: the caller has both. */
function joined(
  source: MigrationStatistics | undefined,
  dest: MigrationStatistics | undefined,
): MigrationStatistics | undefined {
  if (source === undefined || dest === undefined || source.resumedAtUs !== 0n) return source ?? dest;
  const { resumedAtUs, controlDestUs } = dest;
  const known = source.stoppedAtUs !== 0n && resumedAtUs !== 0n;
  return { ...source, resumedAtUs, controlDestUs, blackoutUs: known ? resumedAtUs - source.stoppedAtUs : 0n };
}

/** Passes on progress and switchover, which only the source agent knows of. Never fails: it is not needed for the migration. */
async function watchMemory(
  { migrationId, domain, from }: DirectMigration,
  emit: (event: MigrationEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const { event } of stream(
        from.source.client,
        SourceAgentService.watchMigration,
        { migrationId, domain },
        signal,
      )) {
        const kind = event?.event?.$case;
        if (event !== undefined && (kind === 'progress' || kind === 'switchover')) emit(event);
        if (kind === 'ended') return;
      }
      return;
    } catch (error) {
      // In v2 the source does not know of the migration before Perform has reached it.
      if (!isServiceError(error)) return;
      await delay(lookEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** v2: asks the source how it ended, until it knows. */
async function untilEnded(
  { from }: DirectMigration,
  names: { readonly migrationId: string; readonly domain: string },
  signal: AbortSignal,
): Promise<{ outcome: Outcome; statistics: MigrationStatistics | undefined }> {
  for await (const { event } of stream(from.source.client, SourceAgentService.watchMigration, names, signal)) {
    if (event?.event?.$case === 'ended') return event.event.value;
  }
  return { outcome: Outcome.OUTCOME_UNSPECIFIED, statistics: undefined };
}

function changed(side: Side, phase: Phase, done: boolean, tookMs: number): MigrationEvent {
  const tookUs = BigInt(Math.round(tookMs * 1_000));
  return { at: new Date(), event: { $case: 'phaseChanged', value: { side, phase, done, tookUs } } };
}
