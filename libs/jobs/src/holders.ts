import { JobError, type JobHolder } from './errors.ts';

/** What keeps a job from starting for now. */
export interface InTheWay {
  /** For the error: "query by domstats of source-agent@a". */
  readonly by: string;
  readonly holder: JobHolder | undefined;
}

/** The refusal of a second migration, which names the first. */
export function alreadyMigrating(domain: string, host: string, holder: JobHolder): JobError {
  const message = `domain ${domain} on ${host} is being migrated already, by ${textOf(holder)}`;
  return new JobError('already-migrating', message, { holder });
}

/** For an error: which migration, how far, whose. */
export const textOf = (holder: JobHolder) =>
  `${holder.kind} job of migration ${holder.migrationId} (phase ${holder.phase}, held by ${holder.owner})`;

/** The holder that a reply names in the words after its first. */
export function holderOf(words: readonly string[]): JobHolder {
  const [, migrationId = '', kind = '', phase = '', owner = ''] = words;
  return { migrationId, kind, phase, owner };
}

/** The short job that a reply names in the words after its first. */
export function shortInTheWay(words: readonly string[]): InTheWay {
  const [, kind, api, owner] = words;
  return { by: `${kind} job by ${api} of ${owner}`, holder: undefined };
}
