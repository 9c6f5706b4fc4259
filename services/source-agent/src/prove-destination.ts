/**
 * Before memory flows: the agent that Prepare's cookie names has made that cookie, and made a place by the one that Begin has made. Whoever carries
 * cookies can write one that sends the guest's memory where they like.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { decodeCookie, forged, MigrationError, wasGivenOurs } from '@ferry/migration';
import { reportedFailure } from '@ferry/rpc';
import type { HeldOut, SourceAgent } from './agent.ts';
import { firstCause } from './first-cause.ts';
import { askDestination } from './readiness.ts';

/** How long one answer may take, and the pause before the next question, ms. */
const answerMs = 1_500;
const askAgainMs = 500;

/** Throws MigrationError cookie-forged; where the destination refuses, migration-failed or what has failed there before; what has kept it from answering for FERRY_HOLD_MS. */
export async function proveDestination(
  agent: SourceAgent,
  held: HeldOut,
  cookieIn: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const { state, ongoing } = held;
  const { migrationId, domainUuid, domainName } = ongoing.start;
  const { run, destinationAddress } = state;
  // What answers a question of readiness brings it as well.
  const key = state.cookieKey ?? (await askForKey(agent, held, signal));
  const expected = { from: 'prepare', migrationId, domainUuid, run, hostUuid: agent.config.host.uuid, key } as const;
  const cookie = decodeCookie(cookieIn, expected);
  if (!wasGivenOurs(cookie, agent.runKeys.cookies({ migrationId, run })))
    throw forged('begin3', { hostName: agent.config.host.name, migrationId });
  const servedBy = agent.destinationAt(destinationAddress).servedBy();
  if (servedBy === undefined || servedBy === cookie.hostName) return;
  throw new MigrationError(
    'destination-unreachable',
    `domain ${domainName} was not sent: the agent at ${destinationAddress} is host ${servedBy}’s by its certificate, and Prepare’s cookie is host ${cookie.hostName}’s: is FERRY_ADDRESS right there?`,
  );
}

async function askForKey(agent: SourceAgent, held: HeldOut, signal: AbortSignal): Promise<Buffer> {
  const { clock, config } = agent;
  const untilMs = clock.monotonic() + config.holdMs;
  for (;;) {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
    const error = await askDestination(agent, held, true, patience).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    signal.throwIfAborted();
    const { cookieKey, destinationAddress } = held.state;
    if (cookieKey !== undefined) return cookieKey;
    if (error === undefined)
      throw new MigrationError(
        'cookie-forged',
        `the agent at ${destinationAddress} has no key to prove its cookies with: upgrade it to this agent’s version`,
      );
    const refused = reportedFailure(error);
    if (refused !== undefined) {
      const message = `domain ${held.ongoing.start.domainName} was not sent, and runs on: ${refused.message}`;
      throw await firstCause(agent, held, new MigrationError('migration-failed', message), signal);
    }
    if (clock.monotonic() >= untilMs) throw error;
    await delay(askAgainMs, undefined, { signal });
  }
}
