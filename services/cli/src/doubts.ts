/** Whether the migrations that hold a domain are in doubt: each is asked at the agent that has its job. */
import { call, isServiceError } from '@ferry/rpc';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import type { Migration } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { CliError } from './cli-error.ts';
import { callError, failureObject } from './failure.ts';
import type { Found } from './locate.ts';
import { printObject } from './view/domains.ts';
import { doubtText } from './view/text.ts';
import { print } from './view/printable.ts';

const answerMs = 5_000;

/** What was told of doubts: the id of the last migration in doubt, and which agents could not be asked. */
export interface Doubts {
  readonly inDoubt: string | undefined;
  readonly unasked: readonly CliError[];
}

/** Prints every doubt. */
export async function tellDoubts(all: readonly Found[], json: boolean | undefined): Promise<Doubts> {
  let inDoubt: string | undefined;
  const unasked: CliError[] = [];
  for (const found of all) {
    const migration = await holding(found).catch((error: unknown) => void unasked.push(notTold(found, error)));
    if (migration?.doubt === undefined) continue;
    const { migrationId, doubt } = migration;
    inDoubt = migrationId;
    if (json === true) {
      const { cause, settledBy } = doubt;
      const why = cause === undefined ? {} : { cause: failureObject(cause) };
      printObject({ event: 'doubt', host: found.host.name, migrationId, ...why, settledBy });
    } else print(`  ${found.host.name}: migration ${migrationId} is ${doubtText(doubt)}\n`);
  }
  return { inDoubt, unasked };
}

function notTold({ host, domain }: Found, error: unknown): CliError {
  const agent = domain.job === 'MIGRATION_IN' ? host.dest : host.source;
  const told = isServiceError(error) ? callError(error, agent.name).message : `${agent.name} does not answer in time`;
  const message = `whether migration ${domain.migrationId} is in doubt is not known: ${told}`;
  return new CliError('unavailable', message, { next: `ferry watch ${domain.migrationId}`, cause: error });
}

/** The migration that holds a domain, as its agent knows it. */
async function holding({ host, domain }: Found): Promise<Migration | undefined> {
  const names = { migrationId: domain.migrationId, domain: domain.uuid };
  const patience = AbortSignal.timeout(answerMs);
  if (domain.job === 'MIGRATION_OUT')
    return (await call(host.source.client, SourceAgentService.getMigration, names, patience)).migration;
  if (domain.job === 'MIGRATION_IN')
    return (await call(host.dest.client, DestAgentService.getMigration, names, patience)).migration;
  return undefined;
}
