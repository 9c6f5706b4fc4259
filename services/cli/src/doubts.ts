/** Whether the migrations that hold a domain are in doubt: each is asked at the agent that has its job. */
import { call } from '@ferry/lab/call';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import type { Migration } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { failureObject } from './failure.ts';
import type { Found } from './locate.ts';
import { printObject } from './view/domains.ts';
import { doubtText } from './view/text.ts';

const answerMs = 5_000;

/** Prints every doubt; gives the migration id of the last one. An agent that cannot be asked tells of none. */
export async function tellDoubts(all: readonly Found[], json: boolean | undefined): Promise<string | undefined> {
  let inDoubt: string | undefined;
  for (const found of all) {
    const migration = await holding(found).catch(() => undefined);
    if (migration?.doubt === undefined) continue;
    const { migrationId, doubt } = migration;
    inDoubt = migrationId;
    if (json === true) {
      const { cause, settledBy } = doubt;
      const why = cause === undefined ? {} : { cause: failureObject(cause) };
      printObject({ event: 'doubt', host: found.host.name, migrationId, ...why, settledBy });
    } else process.stdout.write(`  ${found.host.name}: migration ${migrationId} is ${doubtText(doubt)}\n`);
  }
  return inDoubt;
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
