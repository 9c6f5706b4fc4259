/** What went wrong, for people: what, where, why, and what to do next; and the exit status that says it to scripts. */
import type { Failure } from '@ferry/proto/ferry/v1/migration';
import { failureFromWire, isPastDeadline, isServiceError, isUnavailable } from '@ferry/rpc';
import { reasonRow } from '@ferry/rpc/reasons';
import { CliError } from './cli-error.ts';
import type { Ending } from './exit-status.ts';
import { phaseWord, sideWord } from './words.ts';

/** The error to end a command with when a call to `agent` (e.g. `the source agent of a (127.0.0.1:4711)`) failed. */
export function callError(error: unknown, agent: string): CliError {
  if (error instanceof CliError) return error;
  if (!isServiceError(error)) throw error;
  const failure = failureFromWire(error);
  if (failure !== undefined) return failureError(failure, error);
  if (isUnavailable(error) || isPastDeadline(error)) {
    const what = isUnavailable(error) ? 'cannot be reached' : 'does not answer in time';
    const next = 'is it running, and are the hosts file and its certificates right? For the lab: ./dev lab status';
    return new CliError('unavailable', `${agent} ${what}: ${error.details}`, { next, cause: error });
  }
  return new CliError('failed', `${agent} answers: ${error.details}`, { cause: error });
}

/** The error for a failure that an agent reported, by a call or as the end of a migration. */
export function failureError(failure: Failure, cause?: unknown): CliError {
  return new CliError(endingOf(failure), failure.message, { failure, next: nextOf(failure), cause });
}

const endings: Readonly<Record<string, Ending>> = {
  'migration-cancelled': 'cancelled',
  'in-doubt': 'inDoubt',
  draining: 'unavailable',
  'redis-unavailable': 'unavailable',
  'register-unavailable': 'unavailable',
  'deadline-exceeded': 'unavailable',
};

const endingOf = ({ reason }: Failure): Ending =>
  Object.hasOwn(endings, reason) ? (endings[reason] ?? 'failed') : 'failed';

/** docs/operations.md says more of each. */
const nextOf = ({ reason, retryable }: Failure): string | undefined =>
  reasonRow(reason)?.hint || (retryable ? 'trying again may help' : undefined);

/** The lines for a terminal: what; which reason, where; what next. */
export function explain(error: CliError): string {
  const lines = [`ferry: ${error.message}`];
  if (error.failure !== undefined) {
    const { reason, side, phase } = error.failure;
    const where = [side === 0 ? '' : sideWord(side), phase === 0 ? '' : phaseWord(phase)].filter((part) => part !== '');
    lines.push(`  reason  ${reason}${where.length === 0 ? '' : ` (${where.join(', ')})`}`);
  }
  if (error.next !== undefined) lines.push(`  next    ${error.next}`);
  return `${lines.join('\n')}\n`;
}

/** The same as an object, for `--json`. */
export function errorObject(error: CliError): Record<string, unknown> {
  const { failure, message, next } = error;
  return {
    event: 'error',
    message,
    ...(failure === undefined ? {} : failureObject(failure)),
    next,
    exitStatus: error.exitStatus,
  };
}

/** A failure in words instead of numbers. */
export function failureObject({ reason, message, side, phase, retryable }: Failure): Record<string, unknown> {
  return {
    reason,
    message,
    ...(side === 0 ? {} : { side: sideWord(side) }),
    ...(phase === 0 ? {} : { phase: phaseWord(phase) }),
    retryable,
  };
}
