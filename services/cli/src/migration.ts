/** A migration as the command line follows it, whoever drives it. */
import type { Failure, MigrationEvent, MigrationStatistics } from '@ferry/proto/ferry/v1/migration';

/** What is known before anything has happened. */
export interface MigrationPlan {
  readonly migrationId: string;
  /** As the user named it. */
  readonly domain: string;
  /** Names of hosts; unknown when somebody else's migration is watched. */
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly protocol: 2 | 3 | undefined;
  readonly mode: 'peer to peer' | 'direct' | 'watched';
}

/** How it ended, as far as we know. */
export type MigrationEnd =
  | { readonly kind: 'completed'; readonly statistics: MigrationStatistics | undefined }
  | {
      readonly kind: 'cancelled' | 'failed';
      readonly failure: Failure | undefined;
      readonly statistics: MigrationStatistics | undefined;
    }
  /** The guest runs nowhere any more. */
  | { readonly kind: 'lost'; readonly failure: Failure | undefined }
  /** We could not learn it. */
  | { readonly kind: 'in-doubt'; readonly why: string }
  /** The guest shut down, or was ended by its user. */
  | { readonly kind: 'guest-ended'; readonly failure: Failure | undefined }
  /** We were told to leave; whether it goes on depends on whether we had asked for it to be given up. */
  | { readonly kind: 'left'; readonly abort: AbortAsked };

/** `unanswered`: the agent may have been asked; `taken`: it gives the migration up. */
export type AbortAsked = 'not-asked' | 'unanswered' | 'taken';

/** Shows a migration as it happens. */
export interface MigrationView {
  event(event: MigrationEvent): void;
  /** Something that we did ourselves, e.g. asked for it to be given up. */
  note(text: string): void;
  /** The last call; waits until everything has been shown. */
  end(end: MigrationEnd): Promise<void>;
}
