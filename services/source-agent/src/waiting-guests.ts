/**
 * An agent that starts: a guest that its life before left stopped for a switchover, and not sent, runs on at once, whatever Redis or the QEMU program
 * take. It needs no decision, since the source has not voted; what is left of its migration is settled when the rest of the agent is there.
 */
import { join } from 'node:path';
import type { Config, Log } from '@ferry/agent';
import { type HandoverEntry, HandoverJournals } from '@ferry/handover';
import { guestMonitor } from '@ferry/hypervisor';
import { stopOutgoing } from './outgoing.ts';

/** How long a QEMU may take to answer, ms: what does not is settled like any other. */
const answerMs = 3_000;

/** Returns when each has been looked at. Never rejects. */
export async function freeWaitingGuests(
  config: Pick<Config, 'stateDir'>,
  log: Log,
  shutdown: AbortSignal,
): Promise<void> {
  const journals = new HandoverJournals(join(config.stateDir, 'handover', 'source'), () => undefined);
  const signal = AbortSignal.any([shutdown, AbortSignal.timeout(answerMs)]);
  const free = (noted: HandoverEntry): Promise<void> =>
    freeOne(config, noted, log, signal).catch((err: unknown) =>
      log.warn(
        { err, migrationId: noted.migrationId, domain: noted.domain },
        'its guest may be stopped, and is settled later',
      ),
    );
  try {
    const { entries } = await journals.unfinished();
    await Promise.all(entries.filter(({ decision }) => decision === undefined).map(free));
  } catch (err) {
    log.warn({ err }, 'the journals cannot be looked at for guests that are stopped');
  }
}

async function freeOne(
  { stateDir }: Pick<Config, 'stateDir'>,
  { domain, migrationId }: HandoverEntry,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await using monitor = await guestMonitor({ stateDir, side: 'source' }, domain, signal);
  const status = await monitor?.execute('query-status', {}, signal);
  if (monitor === undefined || status?.status !== 'finish-migrate') return;
  if ((await stopOutgoing(monitor, signal)) === 'completed') return;
  log.warn({ migrationId, domain }, 'the guest was stopped for its switchover when this agent ended: it runs on here');
}
