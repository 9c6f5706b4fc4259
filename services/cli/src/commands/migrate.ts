/** `ferry migrate`, `watch` and `abort`. */
import { call, isPastDeadline, isServiceError, stream } from '@ferry/rpc';
import {
  MemoryTls,
  type MigrationEvent,
  type MigrationOptions,
  Outcome,
  Protocol,
} from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { readDocument } from '../document-file.ts';
import { driveDirect } from '../direct.ts';
import { CliError } from '../cli-error.ts';
import { callError, failureError } from '../failure.ts';
import { follow } from '../follow.ts';
import type { Host, Hosts } from '../hosts.ts';
import { Interrupts } from '../interrupts.ts';
import { locateMigration } from '../locate.ts';
import type { MigrationEnd, MigrationPlan, MigrationView } from '../migration.ts';
import { viewOf } from '../view/choose.ts';
import { endText } from '../view/text.ts';
import { print } from '../view/printable.ts';

/** What may be chosen. */
export interface MigrateOptions {
  readonly from: string;
  readonly to: string;
  readonly v2?: boolean;
  readonly direct?: boolean;
  readonly bandwidth?: bigint;
  readonly downtime?: number;
  readonly id?: string;
  readonly unsafe?: boolean;
  /** Certificates (`--tls`), or no encryption at all (`--no-tls`). */
  readonly tls?: boolean;
  /** A file with the document for the destination; `-`: stdin. */
  readonly xml?: string;
  readonly json?: boolean;
}

/** How long asking for a migration to be given up may take. */
const abortMs = 10_000;

/** Moves a guest. Throws CliError for every end but a good one. */
export async function migrate(hosts: Hosts, domain: string, chosen: MigrateOptions): Promise<void> {
  const [from, to] = [hosts.named(chosen.from), hosts.named(chosen.to)];
  const migrationId = chosen.id ?? crypto.randomUUID();
  const protocol = chosen.v2 === true ? 2 : 3;
  const direct = chosen.direct === true;
  const mode = direct ? 'direct' : 'peer to peer';
  const plan: MigrationPlan = { migrationId, domain, from: from.name, to: to.name, protocol, mode };
  const limits = { bandwidthBytesPerSecond: chosen.bandwidth ?? 0n, downtimeLimitMs: chosen.downtime ?? 0 };
  const options = { ...limits, ...(chosen.unsafe === true ? { unsafe: true } : {}), ...memoryTlsOf(chosen.tls) };
  if (chosen.xml !== undefined && protocol === 2)
    throw new CliError('usage', '--xml needs protocol version 3: --v2 has no place for another document');
  const domainXml = chosen.xml === undefined ? undefined : readDocument(chosen.xml);
  using interrupts = new Interrupts();
  const view = viewOf(plan, chosen.json === true);
  const run = { plan, from, to, options, domainXml, view, interrupts };
  await conclude(run, await (direct ? runDirect(run) : runPeerToPeer(run)));
}

/** Follows a migration that somebody else began. Ctrl-C leaves it alone. */
export async function watch(
  hosts: Hosts,
  migrationId: string,
  chosen: { host?: string; json?: boolean },
): Promise<void> {
  const { host, migration } = await locateMigration(hosts.chosen(chosen.host), migrationId);
  const { domainName: domain, protocol, peer } = migration;
  const to = peer === '' ? undefined : peer;
  const known = protocol === Protocol.PROTOCOL_V2 ? 2 : 3;
  const plan: MigrationPlan = { migrationId, domain, from: host.name, to, protocol: known, mode: 'watched' };
  using interrupts = new Interrupts();
  const view = viewOf(plan, chosen.json === true);
  const names = { migrationId, domain: migration.domainUuid };
  const events = stream(host.source.client, SourceAgentService.watchMigration, names, interrupts.first);
  const end = await show(
    follow(events, host.source, names, interrupts.first),
    view,
    host,
    interrupts,
    interrupts.first,
  );
  await conclude({ plan, from: host, view }, end);
}

/** Asks for a migration to be given up. What comes of it is its own outcome. */
export async function abort(
  hosts: Hosts,
  migrationId: string,
  chosen: { host?: string; json?: boolean },
): Promise<void> {
  const { host, migration } = await locateMigration(hosts.chosen(chosen.host), migrationId);
  const names = { migrationId, domain: migration.domainUuid };
  await call(host.source.client, SourceAgentService.abortMigration, names, AbortSignal.timeout(abortMs)).catch(
    (error: unknown) => {
      throw callError(error, host.source.name);
    },
  );
  const text = `asked ${host.name} to give up migration ${migrationId} of ${migration.domainName}`;
  if (chosen.json === true)
    process.stdout.write(`${JSON.stringify({ event: 'abort-asked', ...names, host: host.name })}\n`);
  else print(`${text}\n`);
}

/** Without a word the protocol's own way: in v3 a key of the migration's own. */
const memoryTlsOf = (tls: boolean | undefined) =>
  tls === undefined ? {} : { memoryTls: tls ? MemoryTls.MEMORY_TLS_X509 : MemoryTls.MEMORY_TLS_NONE };

interface Run {
  readonly plan: MigrationPlan;
  readonly from: Host;
  readonly to: Host;
  readonly options: MigrationOptions;
  readonly domainXml: string | undefined;
  readonly view: MigrationView;
  readonly interrupts: Interrupts;
}

/** The source agent drives; we watch. */
async function runPeerToPeer({ plan, from, to, options, domainXml, view, interrupts }: Run): Promise<MigrationEnd> {
  const { migrationId, domain } = plan;
  const names = { migrationId, domain };
  const protocol = plan.protocol === 2 ? Protocol.PROTOCOL_V2 : Protocol.PROTOCOL_V3;
  const request = { ...names, destination: to.dest.address, protocol, migrationUri: '', options, domainXml };
  const left = interrupts.second;
  interrupts.first.addEventListener('abort', () => void askToAbort(from, names, view, interrupts), { once: true });
  const events = stream(from.source.client, SourceAgentService.migrate, request, left);
  return show(follow(events, from.source, names, left), view, from, interrupts, left);
}

/** We drive. The first Ctrl-C gives up what has not been sent; the second leaves, and the agents settle it. */
async function runDirect({ plan, from, to, options, domainXml, view, interrupts }: Run): Promise<MigrationEnd> {
  const { migrationId, domain } = plan;
  const names = { migrationId, domain };
  const given = new AbortController();
  const ask = async () => {
    // What the source does not know of (v2 before Perform) ends with us.
    if (!(await askToAbort(from, names, view, interrupts)))
      given.abort(new CliError('cancelled', 'cancelled before the source had begun'));
  };
  interrupts.first.addEventListener('abort', () => void ask(), { once: true });
  const left = Promise.withResolvers<MigrationEnd>();
  interrupts.second.addEventListener('abort', () => left.resolve({ kind: 'left', abort: interrupts.abort }), {
    once: true,
  });
  const protocol = plan.protocol === 2 ? 2 : 3;
  const migration = { ...names, from, to, protocol, options, domainXml } as const;
  const driven = driveDirect(migration, (event) => view.event(event), given.signal).then(
    (statistics): MigrationEnd => ({ kind: 'completed', statistics }),
    (error: unknown): Promise<MigrationEnd> => settled(error, from, names),
  );
  return Promise.race([driven, left.promise]);
}

/** How a migration ended whose driver met an error: by the source's own record, which saw more than we did. */
async function settled(
  met: unknown,
  from: Host,
  names: { migrationId: string; domain: string },
): Promise<MigrationEnd> {
  if (met instanceof CliError) return { kind: 'cancelled', failure: undefined, statistics: undefined };
  if (!isServiceError(met)) throw met;
  const cause = callError(met, 'an agent');
  const asked = await call(
    from.source.client,
    SourceAgentService.getMigration,
    names,
    AbortSignal.timeout(abortMs),
  ).catch(() => undefined);
  const { migration } = asked ?? {};
  // Nothing has begun on the source, or nobody can tell.
  if (migration === undefined) throw cause;
  if (migration.active) return { kind: 'in-doubt', why: `${cause.message}; the agents settle it` };
  const { failure = cause.failure, statistics } = migration;
  if (migration.outcome === Outcome.OUTCOME_COMPLETED) return { kind: 'completed', statistics };
  if (migration.outcome === Outcome.OUTCOME_GUEST_LOST) return { kind: 'lost', failure };
  if (migration.outcome === Outcome.OUTCOME_GUEST_ENDED) return { kind: 'guest-ended', failure };
  const kind = migration.outcome === Outcome.OUTCOME_CANCELLED || cause.ending === 'cancelled' ? 'cancelled' : 'failed';
  return { kind, failure, statistics };
}

/** Shows events until the end. */
async function show(
  events: AsyncIterable<MigrationEvent>,
  view: MigrationView,
  host: Host,
  interrupts: Interrupts,
  left: AbortSignal,
): Promise<MigrationEnd> {
  let seen = 0;
  try {
    for await (const event of events) {
      seen += 1;
      view.event(event);
      if (event.event?.$case !== 'ended') continue;
      const { outcome, failure, statistics } = event.event.value;
      if (outcome === Outcome.OUTCOME_COMPLETED) return { kind: 'completed', statistics };
      if (outcome === Outcome.OUTCOME_CANCELLED) return { kind: 'cancelled', failure, statistics };
      if (outcome === Outcome.OUTCOME_GUEST_LOST) return { kind: 'lost', failure };
      if (outcome === Outcome.OUTCOME_GUEST_ENDED) return { kind: 'guest-ended', failure };
      return { kind: 'failed', failure, statistics };
    }
  } catch (error) {
    if (left.aborted) return { kind: 'left', abort: interrupts.abort };
    const cause = callError(error, host.source.name);
    if (seen === 0) throw cause;
    return { kind: 'in-doubt', why: cause.message };
  }
  return { kind: 'in-doubt', why: `${host.source.name} stopped telling` };
}

/** True if the source took the request. */
async function askToAbort(
  from: Host,
  names: { migrationId: string; domain: string },
  view: MigrationView,
  interrupts: Interrupts,
): Promise<boolean> {
  view.note('asking to abort; Ctrl-C again leaves without waiting for the end');
  interrupts.abort = 'unanswered';
  try {
    await call(from.source.client, SourceAgentService.abortMigration, names, AbortSignal.timeout(abortMs));
    interrupts.abort = 'taken';
    view.note('it is being given up');
    return true;
  } catch (error) {
    // The agent has refused it, or was not reached: then nothing is given up.
    if (isServiceError(error) && !isPastDeadline(error)) interrupts.abort = 'not-asked';
    view.note(`it could not be asked: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

/** Says how it ended; throws for every end but a good one. */
async function conclude({ plan, view }: Pick<Run, 'plan' | 'from' | 'view'>, end: MigrationEnd): Promise<void> {
  await view.end(end);
  const { migrationId, domain } = plan;
  switch (end.kind) {
    case 'completed':
      return;
    case 'left':
      throw new CliError('interrupted', endText(end, plan));
    case 'in-doubt':
      throw new CliError('inDoubt', end.why, { next: `ferry watch ${migrationId}, then ferry where ${domain}` });
    case 'guest-ended':
      throw new CliError('failed', end.failure?.message ?? endText(end, plan), { failure: end.failure });
    case 'lost':
    case 'cancelled':
    case 'failed': {
      const ending = end.kind;
      if (end.failure === undefined) throw new CliError(ending, endText(end, plan));
      const { message, failure, next, ending: why } = failureError(end.failure);
      // That Redis or an agent cannot serve has one status, whichever command meets it.
      throw new CliError(ending === 'failed' && why === 'unavailable' ? why : ending, message, { failure, next });
    }
  }
}
