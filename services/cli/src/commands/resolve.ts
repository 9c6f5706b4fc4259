/** `ferry resolve`: a person's decision of a migration in doubt whose other host is gone for good. */
import { call, failureFromWire, isServiceError } from '@ferry/rpc';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { type Migration, Outcome, Resolution, type ResolveMigrationRequest } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import type { Client } from '@grpc/grpc-js';
import { CliError } from '../cli-error.ts';
import { callError, failureError, failureObject } from '../failure.ts';
import type { Agent, Hosts } from '../hosts.ts';
import { printObject } from '../view/domains.ts';
import { outcomeWord, sideWord } from '../words.ts';
import { print } from '../view/printable.ts';

export interface ResolveOptions {
  /** The host that is gone for good. */
  readonly gone: string;
  /** The host that is left; else the one whose agents know the migration. */
  readonly host?: string;
  /** End this host's copy instead of letting it go on. */
  readonly end?: boolean;
  readonly json?: boolean;
}

/** An agent settles what is known first, and gives the other host's agent some seconds to answer. */
const answerMs = 20_000;

type Ask = (client: Client, request: ResolveMigrationRequest, signal: AbortSignal) => Promise<Migration | undefined>;

/** Which agents of a host may hold the migration, and how each is asked. */
const sides: readonly { readonly side: 'source' | 'dest'; readonly find: Ask; readonly resolve: Ask }[] = [
  {
    side: 'source',
    find: async (client, ...args) => (await call(client, SourceAgentService.getMigration, ...args)).migration,
    resolve: async (client, ...args) => (await call(client, SourceAgentService.resolveMigration, ...args)).migration,
  },
  {
    side: 'dest',
    find: async (client, ...args) => (await call(client, DestAgentService.getMigration, ...args)).migration,
    resolve: async (client, ...args) => (await call(client, DestAgentService.resolveMigration, ...args)).migration,
  },
];

/** Lets the copy that is left go on, or ends it. Throws CliError. */
export async function resolve(hosts: Hosts, migrationId: string, chosen: ResolveOptions): Promise<void> {
  const { gone, end = false, json } = chosen;
  const resolution = end ? Resolution.RESOLUTION_END_HERE : Resolution.RESOLUTION_RUN_HERE;
  // Agents want a domain's name with a migration id; they know this one by its id alone.
  const request = { migrationId, domain: migrationId, goneHost: gone, resolution };
  let silent: CliError | undefined;
  for (const host of hosts.chosen(chosen.host)) {
    if (host.name === gone) continue;
    for (const { side, find, resolve: settle } of sides) {
      const agent = host[side];
      try {
        const known = await find(agent.client, request, AbortSignal.timeout(answerMs));
        if (known === undefined) continue;
        const named = { ...request, domain: known.domainUuid };
        const settled = await settle(agent.client, named, AbortSignal.timeout(answerMs));
        return tell(settled ?? known, host.name, agent, json);
      } catch (error) {
        const told = isServiceError(error) ? failureFromWire(error) : undefined;
        if (told?.reason === 'unknown-migration') continue;
        if (told !== undefined) throw failureError(told, error);
        silent ??= callError(error, agent.name);
      }
    }
  }
  const next = 'ferry list shows the migrations that hold a domain';
  throw silent ?? new CliError('failed', `no host that is left knows of a migration ${migrationId}`, { next });
}

function tell(migration: Migration, host: string, agent: Agent, json: boolean | undefined): void {
  const { migrationId, domainName, outcome, failure, side } = migration;
  if (json === true) {
    const why = failure === undefined ? {} : { failure: failureObject(failure) };
    printObject({
      event: 'resolved',
      host,
      side: sideWord(side),
      migrationId,
      domain: domainName,
      outcome: outcomeWord(outcome),
      ...why,
    });
    return;
  }
  if (migration.active) {
    throw new CliError(
      'inDoubt',
      `${agent.name} has the decision and cannot act on it yet: ${migration.doubt?.cause?.message ?? 'it tries again'}`,
      {
        next: `ferry watch ${migrationId}`,
      },
    );
  }
  const what =
    outcome === Outcome.OUTCOME_GUEST_LOST ? `its copy on host ${host} was ended` : `it goes on on host ${host}`;
  print(`${domainName} is settled: ${what}; the migration’s outcome: ${outcomeWord(outcome)}\n`);
}
