/** What the commands about domains print alike. */
import type { Domain } from '@ferry/proto/ferry/v1/domains';
import { CliError } from '../cli-error.ts';
import { errorObject, explain } from '../failure.ts';
import type { Found } from '../locate.ts';
import { stateWord } from '../words.ts';
import { printError } from './printable.ts';

/** A domain for `--json`. */
export function domainObject({ host, domain }: Found): Record<string, unknown> {
  const { name, uuid, state, memoryBytes, vcpus, qemuPid, job, migrationId, jobUnknown } = domain;
  const held = jobUnknown !== '' ? { jobUnknown } : job === '' ? {} : { job, migrationId };
  return {
    host: host.name,
    name,
    uuid,
    state: stateWord(state),
    memoryBytes: Number(memoryBytes),
    vcpus,
    qemuPid,
    ...held,
  };
}

/** `, MIGRATION_OUT 0f…` while a migration holds the domain. */
export const migrating = ({ job, migrationId, jobUnknown }: Domain): string => {
  if (jobUnknown !== '') return ', whether a migration holds it is not known';
  return job === '' ? '' : `, ${job} ${migrationId}`;
};

/** One error a host that could not read its domains' jobs: Redis does not answer it. */
export function unknownJobs(found: readonly Found[]): CliError[] {
  const byHost = new Map(found.filter(({ domain }) => domain.jobUnknown !== '').map((each) => [each.host.name, each]));
  return [...byHost.values()].map(({ host, domain }) => {
    const message = `${host.source.name} cannot tell which migrations hold its domains: ${domain.jobUnknown}`;
    return new CliError('unavailable', message, { next: 'check Redis, and look again' });
  });
}

/** All but the last are told now, the last one ends the command. */
export function throwFirst(errors: readonly CliError[], json: boolean | undefined): void {
  const last = errors.at(-1);
  tellErrors(errors.slice(0, -1), json);
  if (last !== undefined) throw last;
}

/** Errors that do not end the command. */
export function tellErrors(errors: readonly CliError[], json: boolean | undefined): void {
  for (const error of errors) {
    if (json === true) printObject(errorObject(error));
    else printError(explain(error));
  }
}

/** One object a line. */
export const printObject = (object: Record<string, unknown>): void =>
  void process.stdout.write(`${JSON.stringify(object)}\n`);
