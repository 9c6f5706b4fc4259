/** What the source asks while memory flows: could the guest run here, if it came now? It is stopped only if so. */
import { handoverOf, currentCaller, refuseForeignAgent } from '@ferry/agent';
import { JobError } from '@ferry/jobs';
import { MigrationError } from '@ferry/migration';
import type { CheckReadyRequest, CheckReadyResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { type DestAgent, type HeldIn, journal } from './agent.ts';

/** A QEMU that loads memory answers between two reads of its stream. */
const answerMs = 1_500;

/** Throws what is missing: the waiting QEMU, the job, the register. Gives whether that QEMU receives a stream. */
export async function checkReady(
  agent: DestAgent,
  request: CheckReadyRequest,
  signal: AbortSignal,
): Promise<CheckReadyResponse> {
  const { migrationId } = request;
  const held = agent.migrations.find(migrationId);
  if (held === undefined) throw notWaiting(agent, migrationId);
  const { state, job } = held;
  const asker = currentCaller();
  for (const host of [state.peerHost, request.askerHost]) refuseForeignAgent(asker, host, migrationId);
  const stream = (): CheckReadyResponse => ({
    receiving: state.incoming?.receiving === true,
    host: agent.config.host.name,
    cookieKey: agent.runKeys.cookies({ migrationId, run: state.run }),
  });
  // By QEMU's event, which does not wait for QEMU to pause its loading, as an answer of its monitor may.
  if (request.streamOnly) return stream();
  if (held.unsettled !== undefined) throw notWaiting(agent, migrationId);
  if (job.signal.aborted) {
    const message = `the job of migration ${migrationId} on ${agent.config.host.name} is being taken back`;
    throw new JobError('lease-lost', message, { cause: job.signal.reason });
  }
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
  const run = runOf(held, request);
  await Promise.all([
    state.guest?.monitor.execute('query-status', {}, patience),
    followSource(agent, held, { ...request, run }, patience),
    agent.register.join({ ...handoverOf(held), incarnation: request.incarnation, run }, patience),
  ]);
  return stream();
}

function notWaiting({ config }: DestAgent, migrationId: string): MigrationError {
  const message = `host ${config.host.name} does not wait for migration ${migrationId}`;
  return new MigrationError('not-migrating', `${message}: its waiting QEMU has ended, or it was given up there`);
}

/**
 * Version 2 has no cookies: where Redis has lost the record between Prepare and Perform, the source has made it again, and the run's nonce with it. Throws
 * MigrationError not-migrating for another run's question.
 */
function runOf({ state, ongoing }: HeldIn, { run }: CheckReadyRequest): string {
  if (run === '' || run === state.run) return state.run;
  if (state.protocol === 2) return run;
  const { migrationId } = ongoing.start;
  throw new MigrationError('not-migrating', `migration ${migrationId} is prepared here for another run of its id`);
}

/** This side commits under the life of the register that the source votes under; which one that will be is durable before the guest is stopped. */
async function followSource(
  agent: DestAgent,
  held: HeldIn,
  request: CheckReadyRequest,
  signal: AbortSignal,
): Promise<void> {
  const { state } = held;
  const { incarnation, run, askerAddress, askerHost } = request;
  state.peerHost ||= askerHost;
  held.ongoing.peer ||= askerHost;
  const known = state.incarnation === incarnation && state.run === run && state.sourceAddress !== '';
  if (known || state.mayHaveCommitted || state.promised.has(incarnation)) return;
  signal.throwIfAborted();
  const before = { incarnation: state.incarnation, run: state.run, sourceAddress: state.sourceAddress };
  state.incarnation = incarnation;
  state.run = run;
  state.sourceAddress ||= askerAddress;
  await journal(agent, held).catch((error: unknown) => {
    Object.assign(state, before);
    throw error;
  });
}
