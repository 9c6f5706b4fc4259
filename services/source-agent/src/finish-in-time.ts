/** Finish, of which the driver does not wait for an answer for ever: the guest is stopped on both hosts meanwhile. */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '@ferry/migration';
import type { FinishRequest, FinishResponse } from '@ferry/proto/ferry/v1/dest_agent';
import type { HeldOut, SourceAgent } from './agent.ts';

/** How long a destination that has committed is given to start the guest, ms: until it has, it may withdraw. */
const startMsMax = 2_000;
/** How long the register is given to say so, ms. */
const lookMsMax = 1_000;

/**
 * Calls Finish. One that is not answered for FERRY_STALL_MS is given up unless the register says that the destination has committed; then it has 2 s
 * more. What has become of the guest is for the register to say, as after any Finish that fails. Throws switchover-stalled, or what the call throws.
 */
export async function finishInTime(
  agent: SourceAgent,
  held: HeldOut | undefined,
  call: (signal: AbortSignal) => Promise<FinishResponse>,
  { migrationId }: FinishRequest,
  signal: AbortSignal,
): Promise<FinishResponse> {
  const late = new AbortController();
  const answer = call(AbortSignal.any([signal, late.signal]));
  const { stallMs } = agent.config;
  if (held === undefined || (await isSettledWithin(answer, stallMs))) return answer;
  const { domainUuid: domain, domainName } = held.ongoing.start;
  const asked = agent.register.look({ domain, migrationId }, AbortSignal.any([signal, AbortSignal.timeout(lookMsMax)]));
  const decision = await asked.then(
    (record) => record.decision,
    () => undefined,
  );
  const waitMs = decision === 'committed' ? startMsMax : 0;
  if (!(await isSettledWithin(answer, waitMs))) {
    const who = `the agent at ${held.state.destinationAddress}`;
    const message = `${who} has not answered Finish of domain ${domainName} for ${stallMs + waitMs} ms (FERRY_STALL_MS)`;
    late.abort(new MigrationError('switchover-stalled', `${message}: the register is asked how it was decided`));
  }
  return answer;
}

async function isSettledWithin(answer: Promise<unknown>, ms: number): Promise<boolean> {
  const over = new AbortController();
  const settled = answer.then(
    () => true,
    () => true,
  );
  const late = delay(ms, false, { signal: over.signal }).catch(() => false);
  try {
    return await Promise.race([settled, late]);
  } finally {
    over.abort();
  }
}
