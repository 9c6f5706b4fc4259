/** What this host and Redis know of the domains that requests name. */
import { HypervisorError } from '@ferry/hypervisor';
import { JobError } from '@ferry/jobs';
import type { Side } from '@ferry/migration';
import type { DomainLookUp, NamedDomain } from './domain-rules.ts';
import { type Knowledge, knownMigration } from './known-migrations.ts';
import type { Parts } from './parts.ts';

type Sources = Pick<Parts, 'config' | 'jobs' | 'ongoing' | 'owners'> & {
  readonly hypervisor: Pick<Parts['hypervisor'], 'find' | 'readGiven'>;
};

export function domainLookUp(parts: Sources, side: Side): DomainLookUp {
  const { config, hypervisor, jobs, ongoing, owners } = parts;
  const knowledge: Knowledge = { jobs, ongoing, side, host: config.host.name };
  return {
    async nameOf(uuid, signal) {
      const here = await absentIf('domain-not-found', hypervisor.find(uuid));
      return here === undefined ? (await owners.of(uuid, signal))?.name : here.name;
    },
    inDocument: (xml, signal) => hypervisor.readGiven(xml, signal),
    async ofMigration(names, signal): Promise<NamedDomain | undefined> {
      const known = await absentIf('unknown-migration', knownMigration(knowledge, names, signal));
      return known === undefined ? undefined : { uuid: known.start.domainUuid, name: known.start.domainName };
    },
  };
}

/** Any other error is not an answer. */
function absentIf<T>(kind: string, answer: Promise<T>): Promise<T | undefined> {
  return answer.catch((error: unknown) => {
    if ((error instanceof HypervisorError || error instanceof JobError) && error.kind === kind) return undefined;
    throw error;
  });
}
