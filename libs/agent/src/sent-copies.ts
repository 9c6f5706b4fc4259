/** The ownership of a guest whose migration has sent it: asserted while that is in doubt, claimed before a copy continues, lost to a third host. */
import { HandoverError, type NotedOwner, type Owner } from '@ferry/handover';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import type { Held } from './held.ts';
import { labelsOf } from './held.ts';
import type { Parts } from './parts.ts';

/** How long what can be done later may take, ms. */
const courtesyMs = 1_000;

/** What either side knows of it besides its job. */
export interface SentCopy {
  /** The nonce of this run of the migration's id: register, journals and cookies of another run are none of it. */
  run: string;
  /** What the ownership record said when the migration began here. */
  owner: NotedOwner | undefined;
  /** The other host's name; empty if not known. */
  peerHost: string;
  /** The other host on which the guest was started instead; empty for none. */
  startedOn: string;
  /** Another host that the ownership record names, without proof that the guest was started there since; empty for none. */
  namedHost: string;
  /** A copy continued while Redis did not answer: its claim is made when it does. */
  claimDue: boolean;
  /** The ownership record, lost by Redis, was asserted for this migration. */
  asserted: boolean;
}

export const newSentCopy = (run: string): SentCopy => ({
  run,
  owner: undefined,
  peerHost: '',
  startedOn: '',
  namedHost: '',
  claimDue: false,
  asserted: false,
});

export const notedOf = ({ epoch, sinceMs }: Owner): NotedOwner => ({ epoch, sinceMs });

/** What a journal says of it. */
type Journaled = Pick<SentCopy, 'run' | 'owner' | 'peerHost' | 'startedOn'>;

export const journaledOf = ({ run, owner, peerHost, startedOn }: SentCopy): Journaled => ({
  run,
  owner,
  peerHost,
  startedOn,
});

/** What this side's life before wrote down. */
export function recallSent(state: SentCopy, noted: Journaled): void {
  state.run = noted.run || state.run;
  state.owner ??= noted.owner;
  state.peerHost ||= noted.peerHost;
  state.startedOn ||= noted.startedOn;
}

/** The other side has continued its copy, by the decision of this very migration: this one is asked after there, and is no older one. */
const wasDecided = ({ ongoing }: Copy, { how, evidence }: Owner): boolean =>
  how === 'decided' && evidence.includes(ongoing.start.migrationId);

type Records = Pick<Parts, 'owners' | 'config' | 'register' | 'log'>;
type Copy = Held<SentCopy>;

const namesOf = ({ ongoing }: Copy): { uuid: string; name: string } => ({
  uuid: ongoing.start.domainUuid,
  name: ongoing.start.domainName,
});

/** A record of a later epoch than the one that the migration began with, or given at a later time. */
const isNewer = (record: Owner, noted: NotedOwner): boolean =>
  record.epoch > noted.epoch || record.sinceMs > noted.sinceMs;

/**
 * A record of the other host that says nothing against a copy that continues here by the agents' decision: the one that the migration began with; for
 * the source, a commit that the destination did not act on; for the destination, all but a guest that was started anew on the source.
 */
function isOfMigration({ state: { owner, peerHost }, ongoing }: Copy, record: Owner): boolean {
  const { side, migrationId } = ongoing.start;
  if (side === 'source' && record.how === 'commit' && record.evidence.includes(migrationId)) return true;
  if (record.host !== peerHost) return false;
  return (side === 'dest' && record.how !== 'start') || (owner !== undefined && !isNewer(record, owner));
}

/**
 * Before each `cont` of a copy that was sent. While Redis does not answer the decision of the two agents stands: nobody can be granted a Start then.
 * Throws HandoverError owned-elsewhere: the guest was started on another host.
 */
export async function claimSent({ owners }: Pick<Parts, 'owners'>, held: Copy, signal: AbortSignal): Promise<void> {
  const { migrationId } = held.ongoing.start;
  const mayTake = (record: Owner): boolean => isOfMigration(held, record);
  try {
    await owners.claimDecided(namesOf(held), { migrationId, mayTake }, signal);
    Object.assign(held.state, { claimDue: false, namedHost: '' });
  } catch (error) {
    const isAway = error instanceof HandoverError && ['register-unavailable', 'register-reply'].includes(error.kind);
    if (!isAway) throw error;
    held.state.claimDue = true;
  }
}

/** A guest in doubt belongs to the source where Redis has lost the record. Throws HandoverError register-unavailable. */
export async function assertOwner({ owners }: Records, held: Copy, sourceHost: string): Promise<void> {
  const { migrationId } = held.ongoing.start;
  const signal = AbortSignal.timeout(courtesyMs);
  if (await owners.assert(namesOf(held), { migrationId, sourceHost }, signal)) held.state.asserted = true;
}

/**
 * The migration has ended: what is still to be recorded of the guest's ownership. Throws HandoverError register-unavailable while a claim that
 * was due when the copy continued cannot be made: until then another host may be given the guest.
 */
export async function settleOwner(parts: Records, held: Copy): Promise<void> {
  const { state, ongoing } = held;
  const { domainUuid, domainName, migrationId, side } = ongoing.start;
  const isHere = (side === 'dest') === (ongoing.outcome === Outcome.OUTCOME_COMPLETED);
  const host = isHere ? parts.config.host.name : state.peerHost;
  const signal = AbortSignal.timeout(courtesyMs);
  const failed = (error: unknown): void =>
    parts.log.warn({ err: error, ...labelsOf(held) }, 'the guest’s ownership could not be recorded');
  if (isHere && state.claimDue) {
    await claimSent(parts, held, AbortSignal.timeout(2 * courtesyMs)).catch((error: unknown) => {
      state.claimDue = !(error instanceof HandoverError && error.kind === 'owned-elsewhere');
      failed(error);
    });
    const message = `the claim of domain ${domainName} by host ${host} could not be recorded in Redis: it is tried again`;
    if (state.claimDue) throw new HandoverError('register-unavailable', message);
  }
  // Later claims correct what Redis does not receive now.
  if (state.asserted && host !== '') await parts.owners.settle(domainUuid, migrationId, host, signal).catch(failed);
}

/** What settles a copy that the ownership record keeps from continuing. */
export const settledByOwner = ({ state: { namedHost }, ongoing }: Copy): string | undefined =>
  namedHost === ''
    ? undefined
    : `the end of the guest on host ${namedHost}, whose it is by the ownership record; if that host is gone for good: ferry forget ${ongoing.start.domainName} --host ${namedHost}`;

/**
 * Why no copy of this migration may continue: the guest was started on another host since. Only a record that is provably newer than the one that the
 * migration began with says so: of this life of Redis, and of a later epoch, or given at a later time. Undefined if there is none, or it is not known.
 */
export async function startedElsewhere(
  { owners, register, config }: Records,
  held: Copy,
  signal: AbortSignal,
): Promise<HandoverError | undefined> {
  const { state, ongoing } = held;
  const { domainUuid, domainName, migrationId } = ongoing.start;
  const what = (host: string, how: string): HandoverError =>
    new HandoverError(
      'owned-elsewhere',
      `the guest of domain ${domainName} was started on host ${host}${how} during migration ${migrationId}: its older copy on host ${config.host.name} is ended`,
    );
  if (state.startedOn !== '') return what(state.startedOn, '');
  const known = await Promise.all([owners.of(domainUuid, signal), register.incarnation(signal)]).catch(() => undefined);
  signal.throwIfAborted();
  const [owner, incarnation] = known ?? [];
  const isAnother = owner !== undefined && owner.doubt === '' && !['', config.host.name].includes(owner.host);
  if (!isAnother || isOfMigration(held, owner) || wasDecided(held, owner)) return undefined;
  state.namedHost = owner.host;
  const noted = state.owner;
  if (noted === undefined) return undefined;
  if (owner.incarnation !== incarnation || !isNewer(owner, noted)) return undefined;
  state.startedOn = owner.host;
  return what(owner.host, ` (epoch ${owner.epoch}: ${owner.evidence})`);
}
