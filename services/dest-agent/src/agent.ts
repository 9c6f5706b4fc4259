/** The destination agent's parts, and what its phases have in common. */
import {
  type Held,
  type HeldMigrations,
  journaledOf,
  newSentCopy,
  type Parts,
  type SentCopy,
  settleOwner,
} from '@ferry/agent';
import { FencedIncarnations } from '@ferry/handover';
import type { Guest, Ports } from '@ferry/hypervisor';
import { type AskRequest, type AskResponse, Outcome } from '@ferry/proto/ferry/v1/migration';
import type { CookieOrigin } from '@ferry/migration';
import { MigrationError } from '@ferry/migration';
import type { RunState } from '@ferry/qemu-qmp';
import type { Incoming } from './incoming.ts';

/** What the destination knows of a migration besides its job. */
export interface DestState extends SentCopy {
  readonly protocol: 2 | 3;
  /** The life of the register that this side decides under: the source's vote says which, once it is known. */
  incarnation: string;
  /** The guest did not run when it was stopped for the switchover, and is not started here. */
  paused: boolean;
  /** What QEMU says of the guest since it was loaded; undefined if it has not said so. */
  runState: RunState | undefined;
  /** The waiting QEMU, once it runs. */
  guest: Guest | undefined;
  incoming: Incoming | undefined;
  /** The source agent's address, once it is known: the one to ask when the register has forgotten. */
  sourceAddress: string;
  /** The register is no longer trusted: it has lived anew since. */
  doneWithRegister: boolean;
  /** What has been decided, once it is known; it changes only if QEMU refuses to start the guest: then it is to be withdrawn, and not known. */
  decision: 'committed' | 'aborted' | undefined;
  /** What the register has given with its word 'committed'. Without a decision beside it, QEMU has refused to start the guest: the commit is to be withdrawn. */
  grant: string | undefined;
  /** The guest has come whole: nobody ends this copy without having asked. */
  whole: boolean;
  /** The guest has gone on here, or was given to its user paused. */
  started: boolean;
  /** The lives of the register under which this side has promised never to commit. */
  readonly promised: FencedIncarnations;
  /** The register was asked to commit, or may have been by this agent's life before: the record may be behind what was done. */
  mayHaveCommitted: boolean;
  /**
   * Where what this agent knows of it comes from: its own life, or the journal of the life before, which cannot be read now or is lost. A
   * journal that was not looked for yet is `unread`.
   */
  recalled: 'here' | 'unread' | 'unreadable' | 'journaled' | 'lost';
  /** An agent's life before began it: what that one did, and QEMU is not there any more to show, is not known. */
  revived: boolean;
  /** The source has said that it has stopped the guest for good: without that nobody may start it here, whatever else is known. */
  voteSeen: boolean;
  /** The source's copy has ended, and never continues: a whole copy here is the only one. */
  sourceEnded: boolean;
  /** A person has decided, since the source is gone for good. */
  decidedByWord: boolean;
  /** Gives the migration's port back. */
  releasePort: () => void;
}

export const newState = (
  protocol: 2 | 3,
  incarnation: string,
  paused: boolean,
  mayHaveCommitted: boolean,
  run: string,
): DestState => ({
  ...newSentCopy(run),
  protocol,
  incarnation,
  paused,
  runState: undefined,
  guest: undefined,
  incoming: undefined,
  sourceAddress: '',
  doneWithRegister: false,
  decision: undefined,
  grant: undefined,
  whole: false,
  started: false,
  promised: new FencedIncarnations(),
  mayHaveCommitted,
  recalled: 'here',
  revived: false,
  voteSeen: false,
  sourceEnded: false,
  decidedByWord: false,
  releasePort: () => undefined,
});

/** What the job's record keeps for a later life of this agent. */
export const optionsOf = (name: string, { protocol, incarnation, run, paused }: DestState): Record<string, string> => ({
  protocol: String(protocol),
  incarnation,
  run,
  paused: String(paused),
  name,
});

/**
 * The guest has not run here, if its QEMU has ended: nobody ever sent that one `cont`, and its user was not given it. Whether an earlier life of this agent did is
 * not known.
 */
export const wasNeverTold = ({ revived, started, incoming }: DestState): boolean =>
  !revived && !started && incoming?.told === false;

export type HeldIn = Held<DestState>;

/** What a source agent is asked. */
export interface Source {
  /** How the migration was decided there. */
  ask(request: AskRequest, signal: AbortSignal): Promise<AskResponse>;
}

export interface DestAgent extends Parts {
  readonly ports: Pick<Ports, keyof Ports>;
  readonly migrations: HeldMigrations<DestState>;
  /** The source agent at HOST:PORT. Throws MigrationError invalid-request. */
  readonly sourceAt: (address: string) => Source;
  /** Whether this host's source agent runs. */
  readonly sourceRuns: () => Promise<boolean>;
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The domain's UUID: as this migration knows it, else as the host does. Throws domain-not-found, invalid-request. */
export async function locate(
  agent: DestAgent,
  request: { readonly migrationId: string; readonly domain: string },
): Promise<string> {
  const known = agent.ongoing.find(request.migrationId)?.start;
  if (known === undefined) {
    if (uuidPattern.test(request.domain)) return request.domain.toLowerCase();
    return (await agent.hypervisor.find(request.domain)).uuid;
  }
  if (request.domain.toLowerCase() !== known.domainUuid && request.domain !== known.domainName) {
    throw new MigrationError(
      'invalid-request',
      `migration ${request.migrationId} is of domain ${known.domainName} (${known.domainUuid}), not of ${request.domain}`,
    );
  }
  return known.domainUuid;
}

export function originOf(agent: DestAgent, { ongoing, state }: HeldIn): CookieOrigin {
  const { migrationId, domainUuid, domainName } = ongoing.start;
  return {
    migrationId,
    domainUuid,
    domainName,
    hostName: agent.config.host.name,
    hostUuid: agent.config.host.uuid,
    agentAddress: agent.config.address,
    run: state.run,
  };
}

/** Writes down what this side must still know after a crash. Durable when it returns. */
export function journal(agent: DestAgent, { ongoing, state }: HeldIn, ended = false): Promise<void> {
  const { migrationId, domainUuid, domainName, protocol } = ongoing.start;
  return agent.journals.of(migrationId).write({
    migrationId,
    domain: domainUuid,
    name: domainName,
    protocol,
    wasRunning: !state.paused,
    incarnation: state.incarnation,
    peerAddress: state.sourceAddress,
    ...journaledOf(state),
    asking: false,
    voteSeen: state.voteSeen,
    promised: [...state.promised],
    decision: state.decision,
    ended,
  });
}

/** Nothing is left to do; what was decided is kept for the other side. */
export async function endJournal(agent: DestAgent, held: HeldIn): Promise<void> {
  await settleOwner(agent, held);
  held.state.decision ??= held.ongoing.outcome === Outcome.OUTCOME_COMPLETED ? 'committed' : 'aborted';
  await journal(agent, held, true);
  agent.journals.release(held.ongoing.start.migrationId);
}
