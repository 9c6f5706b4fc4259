/** A held migration as the register knows it. */
import type { HandoverUnder } from '@ferry/handover';
import type { Held } from './held.ts';
import type { SentCopy } from './sent-copies.ts';

interface Registered extends SentCopy {
  readonly incarnation: string;
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
