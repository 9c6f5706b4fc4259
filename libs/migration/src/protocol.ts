/**
 * libvirt's migration protocol from the driver's seat: who is called when, with whose output. The source agent runs it for a
 * peer-to-peer migration, a controller for one that it drives itself; they only differ in how the agents are reached.
 */
import type { FinishRequest, FinishResponse, PrepareRequest, PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { type MigrationOptions, Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import type {
  BeginRequest,
  BeginResponse,
  ConfirmRequest,
  ConfirmResponse,
  DumpXmlRequest,
  DumpXmlResponse,
  PerformRequest,
  PerformResponse,
} from '@ferry/proto/ferry/v1/source_agent';
import { MigrationError } from './errors.ts';

type Call<Request, Response> = (request: Request, signal: AbortSignal) => Promise<Response>;

export interface SourceCalls {
  readonly begin: Call<BeginRequest, BeginResponse>;
  readonly dumpXml: Call<DumpXmlRequest, DumpXmlResponse>;
  readonly perform: Call<PerformRequest, PerformResponse>;
  readonly confirm: Call<ConfirmRequest, ConfirmResponse>;
  /** v2 has no Confirm: how the migration ended, once the source has seen it in the register. */
  readonly outcome: Call<{ readonly migrationId: string; readonly domain: string }, Outcome>;
}

export interface DestCalls {
  readonly prepare: Call<PrepareRequest, PrepareResponse>;
  readonly finish: Call<FinishRequest, FinishResponse>;
}

export interface Drive {
  readonly migrationId: string;
  readonly domain: string;
  readonly protocol: 2 | 3;
  /** Empty: the destination chooses. */
  readonly migrationUri: string;
  readonly options: MigrationOptions | undefined;
  /** A document for the destination instead of the guest's own; empty: none. */
  readonly domainXml?: string | undefined;
}

/** What has begun must be ended, also when the driver's own signal has aborted; the agents end it by themselves after that. */
const endMs = 30_000;

/**
 * Drives one migration to its end and returns when the guest runs on the destination; undefined if it does although Finish's answer was
 * lost. Throws the first cause when it goes on running on the source.
 */
export function driveMigration(
  source: SourceCalls,
  dest: DestCalls,
  drive: Drive,
  signal: AbortSignal,
): Promise<FinishResponse | undefined> {
  if (drive.protocol === 2 && (drive.domainXml ?? '') !== '') {
    return Promise.reject(
      new MigrationError('invalid-request', 'domain_xml is given, which protocol v2 has no place for: use v3'),
    );
  }
  return drive.protocol === 3 ? driveV3(source, dest, drive, signal) : driveV2(source, dest, drive, signal);
}

const noCookie = Buffer.alloc(0);

async function driveV3(source: SourceCalls, dest: DestCalls, drive: Drive, signal: AbortSignal) {
  const { migrationId, domain, migrationUri, options, domainXml: altered } = drive;
  const memoryTls = options?.memoryTls;
  const protocol = Protocol.PROTOCOL_V3;
  const end = { migrationId, domain, protocol, cookieIn: noCookie, cancelled: true };

  const begun = await source.begin({ migrationId, domain, options, domainXml: altered }, signal);
  const decide: Decide = async (patience) => (await source.confirm(end, patience)).outcome;
  return orGiveUp(decide, dest, end, async () => {
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri, paused: false, memoryTls };
    const prepared = await dest.prepare({ migrationId, protocol, ...place }, signal);
    const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options };
    const performed = await source.perform({ migrationId, domain, protocol, ...way }, signal);
    // From here on it is not ours to stop: what has been sent is finished, whoever has hung up.
    const patience = AbortSignal.timeout(endMs);
    const finished = await dest.finish({ ...end, cookieIn: performed.cookieOut, cancelled: false }, patience);
    await source.confirm({ ...end, cookieIn: finished.cookieOut, cancelled: false }, patience);
    return finished;
  });
}

async function driveV2(source: SourceCalls, dest: DestCalls, drive: Drive, signal: AbortSignal) {
  const { migrationId, domain, migrationUri, options } = drive;
  const memoryTls = options?.memoryTls;
  const protocol = Protocol.PROTOCOL_V2;
  const end = { migrationId, domain, protocol, cookieIn: noCookie, cancelled: true };

  const { domainXml, paused } = await source.dumpXml({ migrationId, domain, options }, signal);
  const decide: Decide = (patience) => source.outcome({ migrationId, domain }, patience);
  return orGiveUp(decide, dest, end, async () => {
    const place = { domainXml, cookieIn: noCookie, migrationUri, paused, memoryTls };
    const prepared = await dest.prepare({ migrationId, protocol, ...place }, signal);
    const way = { cookieIn: noCookie, migrationUri: prepared.migrationUri, options };
    await source.perform({ migrationId, domain, protocol, ...way }, signal);
    const patience = AbortSignal.timeout(endMs);
    const finished = await dest.finish({ ...end, cancelled: false }, patience);
    await decide(patience);
    return finished;
  });
}

type Decide = (signal: AbortSignal) => Promise<Outcome>;

/**
 * Runs the rest of a migration that has begun. Whatever fails in it, the source decides first (it asks the register), then the destination
 * is told: an error or a lost answer is no proof that the destination did nothing.
 */
async function orGiveUp(
  decide: Decide,
  dest: DestCalls,
  cancelled: FinishRequest,
  rest: () => Promise<FinishResponse>,
): Promise<FinishResponse | undefined> {
  try {
    return await rest();
  } catch (cause) {
    const patience = AbortSignal.timeout(endMs);
    const outcome = await decide(patience).catch(() => Outcome.OUTCOME_UNSPECIFIED);
    if (outcome === Outcome.OUTCOME_COMPLETED) return undefined;
    await dest.finish(cancelled, patience).catch(() => undefined);
    throw cause;
  }
}
