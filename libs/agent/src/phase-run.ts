import type { Phase } from '@ferry/migration';
import type { Held } from './held.ts';
import type { OutcomeWord } from './ongoing.ts';
import type { Codec } from './replies.ts';

/** One phase's run. */
export interface PhaseRun<State, Response> {
  readonly phase: Phase;
  /** The digest of what is asked for: an answer is given again only to the same request. None: the phase asks for nothing of its own. */
  readonly request?: Uint8Array;
  readonly codec: Codec<Response>;
  readonly body: (held: Held<State>, signal: AbortSignal) => Promise<Response>;
  /** The phase that is recorded when the body is done, if that is another one. */
  readonly doneAs?: Phase;
  /** The guest is paused while the phase begins. */
  readonly inBlackout?: true;
  /** Memory flows: nobody else drives this QEMU, so a lost lease does not stop it; it is taken back meanwhile. */
  readonly outlivesLease?: true;
  /** Given if the phase ends the migration. */
  readonly outcome?: (response: Response) => OutcomeWord;
}

/** Phases of which one is run, and what must be learned before it is known which. */
export interface PhaseChoice<State, Response> {
  /** A repeated call gets what was answered to any of them. */
  readonly phases: readonly Phase[];
  readonly request?: Uint8Array;
  readonly codec: Codec<Response>;
  readonly learn: (
    held: Held<State>,
    signal: AbortSignal,
  ) => PhaseRun<State, Response> | Promise<PhaseRun<State, Response>>;
}
