/** The source agent's parts, and what its phases have in common. */
import { randomUUID } from 'node:crypto';
import {
  type Held,
  type HeldMigrations,
  journaledOf,
  newSentCopy,
  notedOf,
  type OngoingStart,
  type OutcomeWord,
  type Parts,
  type SentCopy,
  settleOwner,
} from '@ferry/agent';
import { readUnlessDamaged } from '@ferry/handover';
import { HypervisorError, type Guest, type Turns } from '@ferry/hypervisor';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { MigrationError, type CookieOrigin } from '@ferry/migration';
import { refuseBlockJobs } from './as-it-runs.ts';
import { openMigration } from './open-migration.ts';
import type { Destination } from './destination.ts';
import type { OwnershipKeeper } from './ownership.ts';

/** What the source knows of a migration besides its job. */
export interface SourceState extends SentCopy {
  readonly protocol: 2 | 3;
  /** The guest's CPUs ran when it was last known, before its switchover; if not, it is not started. */
  wasRunning: boolean;
  /** The life of the register that this migration votes and decides under; it never changes once the guest has stopped. */
  incarnation: string;
  /** The source has given its vote: its copy may only run again by a decision. */
  voted: boolean;
  /** QEMU has said `completed` and the vote was given: the guest did not run on here before its QEMU ended (P104). After a restart, only if that is recorded. */
  sent: boolean;
  /** The destination agent's address, once it is known: the one to ask when the register has forgotten. */
  destinationAddress: string;
  /** What proves who has made this run's cookies; undefined until the destination's agent has given it to this life of the agent. */
  cookieKey: Buffer | undefined;
  /** The register is asked no more: it lives anew, or stays away. Journaled before the destination is asked. */
  doneWithRegister: boolean;
  /** Since when the register cannot be asked for the decision, by the monotonic clock, ms. */
  registerAwayMs: number | undefined;
  /** What has been decided, once it is known; it never changes. */
  decision: 'committed' | 'aborted' | undefined;
  /** A person has decided so, since the destination is gone for good. */
  decidedByWord: boolean;
  /** The guest is, or was, stopped for the switchover: what its user wants now is for the destination. */
  switchedOver: boolean;
  /** Its user has paused it (Suspend) while memory flowed, or is about to. */
  pausing: boolean;
  /** Its user has ended the guest here (Destroy): it is to end everywhere. */
  destroyed: boolean;
  /**
   * Where what this agent knows of it comes from: its own life, or the journal of the life before, which cannot be read now or is lost. A
   * journal that was not looked for yet is `unread`.
   */
  recalled: 'here' | 'unread' | 'unreadable' | 'journaled' | 'lost';
  /** Since when a guest that has ended here is being handed over, by the monotonic clock, ms. */
  handingOverMs: number | undefined;
}

export type HeldOut = Held<SourceState>;

export interface SourceAgent extends Parts {
  readonly migrations: HeldMigrations<SourceState>;
  readonly ownership: OwnershipKeeper;
  /** Guests that are sent at once. */
  readonly sending: Turns;
  /** One migration's calls to the destination agent at HOST:PORT. Throws MigrationError invalid-request. */
  readonly destinationAt: (address: string) => Destination;
}

export const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The domain a call is about: as this migration knows it, else as the host does. Throws domain-not-found, cookie-foreign. */
export async function locate(
  agent: SourceAgent,
  request: { readonly migrationId: string; readonly domain: string },
): Promise<{ domainUuid: string; domainName: string }> {
  const known = agent.ongoing.find(request.migrationId)?.start;
  if (known === undefined) {
    if (uuidPattern.test(request.domain)) {
      // It may have left already: its UUID is enough to find what was answered.
      const here = await agent.hypervisor.find(request.domain).catch(() => undefined);
      return { domainUuid: request.domain.toLowerCase(), domainName: here?.name ?? request.domain };
    }
    const { uuid, name } = await agent.hypervisor.find(request.domain);
    return { domainUuid: uuid, domainName: name };
  }
  const { domainUuid, domainName } = known;
  if (request.domain.toLowerCase() !== domainUuid && request.domain !== domainName) {
    throw new MigrationError(
      'invalid-request',
      `migration ${request.migrationId} is of domain ${domainName} (${domainUuid}), not of ${request.domain}: choose a fresh migration_id`,
    );
  }
  return { domainUuid, domainName };
}

export function originOf(agent: SourceAgent, { ongoing, state }: HeldOut): CookieOrigin {
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

/**
 * Looks whether a guest can leave, before its job is taken, and what must be remembered of it. Throws domain-not-found,
 * domain-not-running, owned-elsewhere.
 */
export async function look(
  agent: SourceAgent,
  { migrationId, domainUuid, protocol }: Pick<OngoingStart, 'migrationId' | 'domainUuid' | 'protocol'>,
  signal: AbortSignal,
): Promise<{ options: Record<string, string>; state: SourceState }> {
  const guest = await agent.hypervisor.guest(domainUuid, signal);
  const [{ status }, incarnation, recorded] = await Promise.all([
    guest.monitor.execute('query-status', {}, signal),
    agent.register.incarnation(signal),
    protocol === 2 ? agent.register.look({ domain: domainUuid, migrationId }, signal) : undefined,
  ]);
  // Made by who makes the record: in version 2 the destination has, and there is no cookie.
  const run = recorded?.run ?? randomUUID();
  // It did not run when it was sent before, and is here again.
  const isBack = status === 'postmigrate' && (await openMigration(agent, domainUuid, signal)) === undefined;
  const runState = isBack ? agent.hypervisor.stoppedAs(domainUuid) : status;
  if (guest.incoming !== undefined || (runState !== 'running' && runState !== 'paused')) {
    throw new HypervisorError(
      'domain-not-running',
      `domain ${guest.name} is ${guest.incoming === undefined ? runState : 'coming in'} on host ${agent.config.host.name}: only a running or paused guest can be migrated`,
    );
  }
  await refuseBlockJobs(guest.monitor, guest.name, signal);
  const wasRunning = status === 'running';
  // What is sent away must be ours, in an epoch that the commit can compare.
  const owner = await agent.owners.claim(
    guest,
    wasRunning ? 'seen' : 'keep',
    `about to leave host ${agent.config.host.name}`,
    signal,
  );
  const state = { ...newState(protocol, wasRunning, incarnation, run), owner: notedOf(owner) };
  return { options: optionsOf(guest.name, state), state };
}

/** What the job's record keeps for a later life of this agent. */
export const optionsOf = (
  name: string,
  { protocol, wasRunning, incarnation, run }: SourceState,
): Record<string, string> => ({
  protocol: String(protocol),
  wasRunning: String(wasRunning),
  incarnation,
  run,
  name,
});

export const newState = (protocol: 2 | 3, wasRunning: boolean, incarnation: string, run: string): SourceState => ({
  ...newSentCopy(run),
  protocol,
  wasRunning,
  incarnation,
  voted: false,
  sent: false,
  destinationAddress: '',
  cookieKey: undefined,
  doneWithRegister: false,
  registerAwayMs: undefined,
  decision: undefined,
  decidedByWord: false,
  switchedOver: false,
  pausing: false,
  destroyed: false,
  recalled: 'here',
  handingOverMs: undefined,
});

/** Undefined if the guest's QEMU has ended; one that only does not answer throws. */
export async function guestIfAny(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<Guest | undefined> {
  try {
    return await agent.hypervisor.guest(held.ongoing.start.domainUuid, signal);
  } catch (error) {
    if (error instanceof HypervisorError && error.kind === 'domain-not-found') return undefined;
    throw error;
  }
}

export function guestOf(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<Guest> {
  return agent.hypervisor.guest(held.ongoing.start.domainUuid, signal).catch((cause: unknown) => {
    throw new MigrationError('guest-gone', `the guest of domain ${held.ongoing.start.domainName} has ended`, { cause });
  });
}

export type { OutcomeWord };

/** Writes down what this side must still know after a crash. Durable when it returns. */
export function journal(agent: SourceAgent, { ongoing, state }: HeldOut, ended = false): Promise<void> {
  const { migrationId, domainUuid, domainName, protocol } = ongoing.start;
  return agent.journals.of(migrationId).write({
    migrationId,
    domain: domainUuid,
    name: domainName,
    protocol,
    wasRunning: state.wasRunning,
    incarnation: state.incarnation,
    peerAddress: state.destinationAddress,
    ...journaledOf(state),
    asking: state.doneWithRegister,
    voteSeen: state.sent,
    promised: [],
    decision: state.decision,
    ended,
  });
}

/** Nothing is left to do; what was decided is kept for the other side. A migration that sent nothing has no journal. */
export async function endJournal(agent: SourceAgent, held: HeldOut): Promise<void> {
  await settleOwner(agent, held);
  const { migrationId } = held.ongoing.start;
  if ((await readUnlessDamaged(agent.journals.of(migrationId))) !== undefined) {
    held.state.decision ??= held.ongoing.outcome === Outcome.OUTCOME_COMPLETED ? 'committed' : 'aborted';
    await journal(agent, held, true);
  }
  agent.journals.release(migrationId);
}
