import type { Failure } from '@ferry/proto/ferry/v1/migration';
import { type Ending, exitStatus } from './exit-status.ts';

/** Ends the command with a message. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly ending: Ending;
  /** The first cause, as an agent reported it. */
  readonly failure: Failure | undefined;
  /** A command, or a sentence. */
  readonly next: string | undefined;
  /** Everything has been said already: only the exit status is left. */
  readonly told: boolean;

  constructor(
    ending: Ending,
    message: string,
    more: { failure?: Failure | undefined; next?: string | undefined; told?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.ending = ending;
    this.failure = more.failure;
    this.next = more.next;
    this.told = more.told ?? false;
  }

  get exitStatus(): number {
    return exitStatus[this.ending];
  }
}
