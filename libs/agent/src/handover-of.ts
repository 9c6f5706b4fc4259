/** A held migration as the register knows it. */
import { type Addresses, HandoverError, type HandoverRegister, type HandoverUnder } from '@ferry/handover';
import type { Held } from './held.ts';
import type { SentCopy } from './sent-copies.ts';

interface Registered extends SentCopy {
  incarnation: string;
}

/** Under the incarnation, and of the run, that this side goes by. */
export const handoverOf = ({
  ongoing: { start },
  state: { incarnation, run },
}: Pick<Held<Registered>, 'ongoing' | 'state'>): HandoverUnder => ({
  domain: start.domainUuid,
  migrationId: start.migrationId,
  incarnation,
  run,
});

/**
 * Makes the record, or adds this side to it. Redis may have another incarnation than when this migration looked at it first (its `master_replid` changes
 * when a first replica connects): nothing is voted yet, so it begins under the current one. Throws as HandoverRegister.begin does.
 */
export async function beginHandover(
  register: Pick<HandoverRegister, 'begin' | 'incarnation'>,
  held: Pick<Held<Registered>, 'ongoing' | 'state'>,
  signal: AbortSignal,
): Promise<Addresses> {
  try {
    return await register.begin(handoverOf(held), signal);
  } catch (error) {
    if (!(error instanceof HandoverError) || error.kind !== 'register-changed') throw error;
    held.state.incarnation = await register.incarnation(signal);
    return register.begin(handoverOf(held), signal);
  }
}
