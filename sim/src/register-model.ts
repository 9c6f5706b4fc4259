/** The register as spec/handover.pml has it: what each script answers, and leaves. */
import type { RedisServer } from './redis-server.ts';

/** A record of the register, as far as it decides. */
export interface Recorded {
  readonly decision: string;
  readonly vote: string;
  /** How often the destination was told 'committed'. */
  readonly grant: number;
  /** The nonce of the run that it is of. */
  readonly run: string;
  /** The destination that has joined. */
  readonly destHost: string;
  /** The source goes by a commit: it cannot be withdrawn. */
  readonly binding: boolean;
}

interface Step {
  readonly answer: string;
  readonly after: Recorded;
}

/** The model's steps that vote and decide, run by the life `k`: what a record says afterwards, and the answer. */
export function modelOf(
  name: string,
  before: Recorded,
  exists: boolean,
  k: string,
  args: readonly (string | Buffer)[],
): Step | undefined {
  const step = steps[name];
  if (step === undefined) return undefined;
  const [i, ...rest] = args.map(String);
  if (k !== i) return { answer: 'changed', after: before };
  // Each of these scripts is told its run last.
  if (!exists || before.run !== rest.at(-1)) return { answer: 'forgotten', after: before };
  return step(before, i, rest);
}

const isDecided = ({ decision, vote }: Recorded, i: string): boolean => vote === i && decision !== 'undecided';

function decide(before: Recorded, i: string, wish: string): Step {
  const answer = isDecided(before, i) ? before.decision : wish;
  return { answer, after: { ...before, decision: answer, vote: i } };
}

/** What the destination is told. */
function granted({ answer, after }: Step): Step {
  return answer === 'committed' ? { answer, after: { ...after, grant: after.grant + 1 } } : { answer, after };
}

const steps: Readonly<Record<string, (before: Recorded, i: string, args: readonly string[]) => Step>> = {
  ferryRegisterVote: (before, i) => decide(before, i, 'undecided'),
  ferryRegisterCommit: (before, i, [, vote, host]) => {
    if (before.destHost !== host) return { answer: 'forgotten', after: before };
    if (before.vote !== i && vote !== 'carried') return { answer: 'vote-missing', after: before };
    return granted(decide(before, i, 'committed'));
  },
  ferryRegisterAbort: (before, i, [, side, host]) => {
    if (side === 'dest' && before.destHost !== host) return { answer: 'forgotten', after: before };
    const step = decide(
      before,
      i,
      before.binding && before.vote === i && before.destHost !== '' ? 'committed' : 'aborted',
    );
    if (side === 'dest') return granted(step);
    return { ...step, after: { ...step.after, binding: step.after.binding || step.answer === 'committed' } };
  },
  ferryRegisterBind: (before, i) => {
    const { decision } = decide(before, i, 'undecided').after;
    return decision === 'aborted'
      ? { answer: 'ok', after: before }
      : { answer: 'ok', after: { ...before, decision, vote: i, binding: true } };
  },
  ferryRegisterWithdraw: (before, i, [, grant, host]) => {
    if (before.destHost !== host) return { answer: 'forgotten', after: before };
    const takes =
      before.vote === i && before.decision === 'committed' && !before.binding && grant === `${before.grant}`;
    return takes ? { answer: 'aborted', after: { ...before, decision: 'aborted' } } : decide(before, i, 'aborted');
  },
};

export const wordsOf = ({ decision, vote, grant, binding }: Recorded): string =>
  `${decision}/${vote} grant ${grant}${binding ? ' binding' : ''}`;

export function recordedIn(server: RedisServer, key: string): Recorded & { readonly exists: boolean } {
  const fields = server.hash(key);
  return {
    decision: fields['decision'] ?? '',
    vote: fields['vote'] ?? '',
    grant: Number(fields['grant'] ?? 0),
    run: fields['run'] ?? '',
    destHost: fields['destHost'] ?? '',
    binding: fields['binding'] === '1',
    exists: Object.keys(fields).length > 0,
  };
}
