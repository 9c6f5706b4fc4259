/** Which side's failure was first: a QEMU whose stream breaks sees the consequence of what happened to the other. */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@ferry/migration';
import { FailureError } from '@ferry/rpc';
import type { HeldOut, SourceAgent } from './agent.ts';

/** How long the destination is given to find that its QEMU has failed, ms. */
const findMs = 1_000;
const lookEveryMs = 25;

/** QEMU's words at the end of a stream that was broken off by its source. */
const brokenOff = /load of migration failed: Input\/output error/;

/** What the destination says of a migration that QEMU gave up at the source, if that came first; else `error`. */
export async function firstCause(
  agent: SourceAgent,
  held: HeldOut,
  error: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const { destinationAddress } = held.state;
  const isQemus = error instanceof MigrationError && error.kind === 'migration-failed';
  if (!isQemus || destinationAddress === '' || signal.aborted) return error;
  const { migrationId, domainUuid: domain } = held.ongoing.start;
  const destination = agent.destinationAt(destinationAddress);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(findMs)]);
  try {
    for (;;) {
      const { migration } = await destination.getMigration({ migrationId, domain }, patience);
      const { failure } = migration ?? {};
      if (failure !== undefined) {
        const isFirst = failure.reason === 'incoming-failed' && !brokenOff.test(failure.message);
        return isFirst || failure.reason === 'migration-cancelled'
          ? new FailureError(failure, { cause: error })
          : error;
      }
      if (migration?.active !== true) return error;
      await delay(lookEveryMs, undefined, { signal: patience });
    }
  } catch {
    return error;
  }
}
