/**
 * A person's decision of a migration in doubt whose other host is gone for good. What the person vouches for is that the other host will never run
 * the guest again (spec/README.md); what can be disproved is refused.
 */
import { type Decision, HandoverError, type Owner } from '@ferry/handover';
import { MigrationError, type Side } from '@ferry/migration';
import { type Migration, Resolution, type ResolveMigrationRequest } from '@ferry/proto/ferry/v1/migration';
import { reportedFailure } from '@ferry/rpc';
import type { HeldMigrations } from './held-migrations.ts';
import type { Held } from './held.ts';
import { knownMigration } from './known-migrations.ts';
import type { Parts } from './parts.ts';

/** How long the register and the other agent have to answer after all, ms. */
const answerMs = 5_000;

interface Resolving {
  decision: Decision | undefined;
  decidedByWord: boolean;
}

/** One side's part in it. */
export interface Resolvable<State extends Resolving> {
  readonly side: Side;
  readonly parts: Pick<Parts, 'config' | 'owners' | 'ongoing' | 'jobs' | 'log'>;
  readonly migrations: HeldMigrations<State>;
  /** Asks once more whoever may know: the register, then the other agent. */
  readonly learn: (held: Held<State>, signal: AbortSignal) => Promise<Decision>;
  /** Why this copy cannot go on; undefined if it can. */
  readonly cannotRun: (held: Held<State>, signal: AbortSignal) => Promise<string | undefined>;
  /** Writes the decision down. */
  readonly journal: (held: Held<State>) => Promise<void>;
}

/**
 * Settles the migration as the person says. Throws JobError unknown-migration; MigrationError invalid-request, not-in-doubt,
 * resolution-disproved; HandoverError register-unavailable: a guest that may be another host's is not started without the record, journal-unreadable.
 */
export async function resolveByWord<State extends Resolving>(
  one: Resolvable<State>,
  request: ResolveMigrationRequest,
  signal: AbortSignal,
): Promise<Migration> {
  const { side, parts, migrations } = one;
  const host = parts.config.host.name;
  const ongoing = await knownMigration({ ...parts, side, host }, request, signal);
  const held = migrations.find(request.migrationId);
  const { migrationId, domainName } = ongoing.start;
  refuseMisnamed(request, host, ongoing.peer);
  if (held === undefined) {
    const message = `migration ${migrationId} of domain ${domainName} is not in doubt: it is over`;
    throw new MigrationError('not-in-doubt', message);
  }
  await migrations.resolve(held, () => decideByWord(one, held, request, signal), signal);
  parts.log.warn(
    { migrationId, goneHost: request.goneHost, resolution: request.resolution },
    'settled by a person’s word',
  );
  return ongoing.describe();
}

function refuseMisnamed({ goneHost, resolution }: ResolveMigrationRequest, host: string, peer: string): void {
  const invalid = (message: string) => new MigrationError('invalid-request', message);
  if (resolution !== Resolution.RESOLUTION_RUN_HERE && resolution !== Resolution.RESOLUTION_END_HERE)
    throw invalid('resolution must say whether this copy goes on or is ended');
  if (goneHost === '' || goneHost === host)
    throw invalid(`gone_host must name the other host, and this one is ${host}`);
  if (peer !== '' && peer !== goneHost)
    throw invalid(`the other host of this migration is ${peer}, not ${goneHost}: which of them is gone?`);
}

async function decideByWord<State extends Resolving>(
  one: Resolvable<State>,
  held: Held<State>,
  { goneHost, resolution }: ResolveMigrationRequest,
  signal: AbortSignal,
): Promise<void> {
  const { side, parts } = one;
  const { state, ongoing } = held;
  const { domainUuid: uuid, domainName: name } = ongoing.start;
  const runHere = resolution === Resolution.RESOLUTION_RUN_HERE;
  const wish: Decision = runHere === (side === 'dest') ? 'committed' : 'aborted';
  const host = parts.config.host.name;
  const disproved = (why: string) => new MigrationError('resolution-disproved', `${why}: nothing was done`);

  const learned = await learnAnyway(one, held, goneHost, signal);
  if (learned === wish) return;
  if (learned !== undefined)
    throw disproved(
      `it is known after all that the guest of ${name} was ${learned === 'committed' ? 'taken over by the destination' : 'left to the source'}`,
    );

  const owner = await parts.owners.of(uuid, signal);
  const why = await one.cannotRun(held, signal);
  const proof = disproof(owner, { side, runHere, host, goneHost, canRun: why === undefined });
  if (proof !== undefined) throw disproved(proof);
  if (runHere) {
    if (why !== undefined) throw disproved(why);
    const evidence = `resolved on host ${host}: somebody said that host ${goneHost} is gone`;
    if (owner?.host === goneHost) await parts.owners.release(owner, evidence, signal);
    const claimed = await parts.owners.claim({ uuid, name }, 'keep', evidence, signal);
    // The gate, as in Finish: while the record was being written the other agent may have asked, and has our promise then.
    const whyNow = await one.cannotRun(held, signal);
    if (whyNow !== undefined) {
      await parts.owners.release(claimed, `not ${evidence}: ${whyNow}`, signal);
      throw disproved(whyNow);
    }
  }
  state.decision = wish;
  // Not if the record says that the guest came over: then it runs there, or its host knows how it ended.
  state.decidedByWord = wish !== 'committed' || owner?.host !== (side === 'dest' ? host : goneHost);
  await one.journal(held);
}

/** The usual way may be open again. An agent that answers is not gone, whatever it says. */
async function learnAnyway<State extends Resolving>(
  { learn, side }: Resolvable<State>,
  held: Held<State>,
  goneHost: string,
  signal: AbortSignal,
): Promise<Decision | undefined> {
  try {
    return await learn(held, AbortSignal.any([signal, AbortSignal.timeout(answerMs)]));
  } catch (error) {
    signal.throwIfAborted();
    // The journal may contain the decision, which an operator must not override.
    if (
      error instanceof HandoverError &&
      (error.kind === 'register-unavailable' || error.kind === 'journal-unreadable')
    )
      throw error;
    const undecided = error instanceof MigrationError && error.kind === 'other-undecided';
    // A destination that cannot tell has no copy that could go on; a source that cannot has one, and settles it itself.
    if (undecided && side === 'source') return undefined;
    if (!undecided && reportedFailure(error) === undefined) return undefined;
    const message = `the other agent answers, so host ${goneHost} is not gone: the agents settle it, or turn that host off first`;
    throw new MigrationError('resolution-disproved', `${message} (${String(error)})`, { cause: error });
  }
}

/** What a person says of this copy, and whether it could go on. */
interface Claimed {
  readonly side: Side;
  readonly runHere: boolean;
  readonly host: string;
  readonly goneHost: string;
  readonly canRun: boolean;
}

/** What the ownership record says against it; the source owns its guest until the destination has committed. */
function disproof(owner: Owner | undefined, { side, runHere, host, goneHost, canRun }: Claimed): string | undefined {
  if (owner === undefined || owner.host === '') return undefined;
  const says = `the guest is host ${owner.host}’s since ${new Date(owner.sinceMs).toISOString()} (epoch ${owner.epoch}: ${owner.evidence})`;
  // Who ends an old copy contradicts no record that names a third host.
  if (owner.host !== host && owner.host !== goneHost) return runHere ? says : undefined;
  const destination = side === 'dest' ? host : goneHost;
  const committed = owner.host === destination;
  if (side === 'source' && runHere && committed) return `${says}, and this copy is older`;
  // A commit that must not be acted on any more, since the source has a promise, is nothing to keep.
  if (side === 'dest' && !runHere && committed && canRun) return says;
  return undefined;
}
