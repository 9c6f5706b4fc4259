/** A guest that was sent whole and has ended on the source since: the copy at the destination is the only one, whoever called for what. */
import { handoverOf } from '@ferry/agent';
import { encodeCookie } from '@ferry/migration';
import { HandoverError } from '@ferry/handover';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import { reportedFailure } from '@ferry/rpc';
import { guestIfAny, type HeldOut, originOf, type SourceAgent } from './agent.ts';

/** Only what is recorded after `completed` tells that the guest did not run on here before it ended. */
export const isSent = ({ state, phase }: HeldOut): boolean =>
  state.sent || phase === 'perform3-done' || phase === 'perform2-done';

/**
 * This copy has ended after the guest was, or may have been, sent, and was not resumed by a decision: it never continues, so that a destination
 * with the whole guest has the only copy. Without its journal this side does not know whether it was resumed.
 */
export async function hasEnded(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<boolean> {
  const { voted, decision, destroyed, destinationAddress, recalled } = held.state;
  const isKnown = recalled === 'here' || recalled === 'journaled';
  if (!isKnown || !(voted || isSent(held)) || decision !== undefined || destroyed || destinationAddress === '')
    return false;
  const guest = await guestIfAny(agent, held, signal);
  // Its monitor's end may not be read yet.
  return guest === undefined || !agent.hypervisor.isAlive(guest);
}

/** Whether the register has recorded the vote, or a decision; a vote there (version 2, or bound) is this side's own. */
export async function isInRegister(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<boolean> {
  const { state, ongoing } = held;
  const { migrationId, domainUuid: domain } = ongoing.start;
  if (state.doneWithRegister) return false;
  const known = await agent.register.look({ domain, migrationId }, signal).catch(() => undefined);
  if (known === undefined || known.decision === 'none' || known.incarnation !== state.incarnation) return false;
  state.sent ||= known.decision === 'undecided';
  return true;
}

/** How long it is tried before the guest is given up, ms. */
const handOverMs = 30_000;

/** With these the destination says that it could not tell, or has no time. */
const askAgain: ReadonlySet<string> = new Set([
  'phase-in-progress',
  'in-doubt',
  'lease-lost',
  'redis-unavailable',
  'register-unavailable',
  'draining',
  'deadline-exceeded',
]);

/**
 * Asks the destination to take the guest over, as the caller would have with Finish, if it was sent whole and has ended here. Returns when it has
 * done so, when it cannot, or when it could not be asked for 30 s: the register knows. Throws why it is not known yet.
 */
export async function handOverIfLast(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  const { state, ongoing } = held;
  if (!isSent(held)) return;
  if (state.destroyed || state.destinationAddress === '') return;
  // One whose journal is lost may not have been done with the register; a destination that has promised refuses by itself.
  if (state.doneWithRegister && state.recalled !== 'lost') return;
  const guest = await guestIfAny(agent, held, signal);
  // Its monitor's end may not be read yet.
  if (guest !== undefined && agent.hypervisor.isAlive(guest)) return;
  const { migrationId, domainUuid: domain } = ongoing.start;
  const since = (state.handingOverMs ??= agent.clock.monotonic());
  const vote = { vote: { incarnation: state.incarnation }, paused: !state.wasRunning };
  const cookie =
    state.protocol === 2 ? [] : encodeCookie('perform3', originOf(agent, held), vote, Date.now(), state.cookieKey);
  const protocol = state.protocol === 2 ? Protocol.PROTOCOL_V2 : Protocol.PROTOCOL_V3;
  const request = { migrationId, domain, protocol, cookieIn: Buffer.from(cookie), cancelled: false };
  try {
    // There is nothing to go back to, should the destination's QEMU refuse to start it.
    await bindIfLast(agent, held, signal);
    await agent.destinationAt(state.destinationAddress).finish(request, signal);
  } catch (error) {
    const refused = reportedFailure(error);
    if (refused !== undefined && !askAgain.has(refused.reason)) return;
    if (agent.clock.monotonic() - since < handOverMs) throw error;
  }
}

/** Lets a destination that asks know that its copy is the only one. */
export async function bindIfLast(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<void> {
  await agent.register.bind({ ...handoverOf(held), ran: held.state.wasRunning }, signal).catch(ifChanged);
}

/** A register that has changed lets nobody commit. Throws whatever else it was. */
function ifChanged(error: unknown): void {
  if (!(error instanceof HandoverError) || error.kind !== 'register-changed') throw error;
}
