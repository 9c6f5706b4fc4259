/** What the commands about domains print alike. */
import type { Domain } from '@ferry/proto/ferry/v1/domains';
import type { CliError } from '../cli-error.ts';
import { errorObject, explain } from '../failure.ts';
import type { Found } from '../locate.ts';
import { stateWord } from '../words.ts';

/** A domain for `--json`. */
export function domainObject({ host, domain }: Found): Record<string, unknown> {
  const { name, uuid, state, memoryBytes, vcpus, qemuPid, job, migrationId } = domain;
  const held = job === '' ? {} : { job, migrationId };
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
export const migrating = ({ job, migrationId }: Domain): string => (job === '' ? '' : `, ${job} ${migrationId}`);

/** All but the last are told now, the last one ends the command. */
export function throwFirst(errors: readonly CliError[], json: boolean | undefined): void {
  const last = errors.at(-1);
  for (const error of errors.slice(0, -1)) {
    if (json === true) printObject(errorObject(error));
    else process.stderr.write(explain(error));
  }
  if (last !== undefined) throw last;
}

/** One object a line. */
export const printObject = (object: Record<string, unknown>): void =>
  void process.stdout.write(`${JSON.stringify(object)}\n`);
