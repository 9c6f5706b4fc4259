/** Source, v3 phase 3 of 5 and v2 phase 3 of 4: sends the guest. It is paused when the answer comes, and stays so until a decision. */
import { beginHandover, handoverOf, requestDigest } from '@ferry/agent';
import { HandoverError } from '@ferry/handover';
import { socketMissing } from '@ferry/hypervisor';
import { unsampled } from '@ferry/jobs';
import {
  decodeCookie,
  encodeCookie,
  encryptionAsked,
  encryptionExpected,
  formatMigrationUri,
  limitsOf,
  type MemoryEncryption,
  MigrationError,
  type MigrationUri,
  parseMigrationUri,
  socketProblem,
} from '@ferry/migration';
import { type MigrationStatistics, Protocol } from '@ferry/proto/ferry/v1/migration';
import { PerformResponse, type PerformRequest } from '@ferry/proto/ferry/v1/source_agent';
import type { Monitor, RunState } from '@ferry/qemu-qmp';
import { guestOf, journal, locate, look, originOf, type HeldOut, type SourceAgent } from './agent.ts';
import { awaitDecision } from './await-decision.ts';
import { refuseBlockJobs } from './as-it-runs.ts';
import { firstCause } from './first-cause.ts';
import { refuseUnsafe } from './safety.ts';
import { configureOutgoing, sendGuest, type SwitchoverTimes } from './outgoing.ts';
import { refuseUnreachable } from './reachable.ts';
import { endSilentHandshakes, repeatHandshake } from './handshake.ts';
import { proveDestination } from './prove-destination.ts';
import { Readiness } from './readiness.ts';
import { takeSendingTurn } from './switchover-turns.ts';

export function perform(agent: SourceAgent, request: PerformRequest, signal: AbortSignal): Promise<PerformResponse> {
  return request.protocol === Protocol.PROTOCOL_V2
    ? perform2(agent, request, signal)
    : perform3(agent, request, signal);
}

async function perform3(agent: SourceAgent, request: PerformRequest, signal: AbortSignal): Promise<PerformResponse> {
  const { migrationId } = request;
  const { domainUuid } = await locate(agent, request);

  const body = async (held: HeldOut, phaseSignal: AbortSignal): Promise<PerformResponse> => {
    const { run } = held.state;
    const expected = { from: 'prepare', migrationId, domainUuid, run, hostUuid: agent.config.host.uuid } as const;
    const cookie = decodeCookie(request.cookieIn, expected);
    held.ongoing.peer = cookie.hostName;
    held.state.peerHost = cookie.hostName;
    held.state.destinationAddress = cookie.agentAddress;
    if (cookie.migrationUri !== formatMigrationUri(parseMigrationUri(request.migrationUri)))
      throw refusedUri(request.migrationUri, `the destination waits at ${cookie.migrationUri}`);
    // Made while QEMU still sends the guest's devices, and told when it says `completed`: until then there is no vote.
    let response = answer(agent, held);
    const encryption = encryptionExpected(cookie, agent.config, uriOf(request));
    const proven = () => proveDestination(agent, held, request.cookieIn, phaseSignal);
    await send(agent, held, request, encryption, phaseSignal, proven, () => {
      response = answer(agent, held);
    });
    Object.assign(held.state, { voted: true, sent: true });
    void recordVote(agent, held);
    return response;
  };
  return agent.migrations.step(
    domainUuid,
    migrationId,
    {
      phase: 'perform3',
      request: digestOf(domainUuid, request),
      doneAs: 'perform3-done',
      outlivesLease: true,
      codec: PerformResponse,
      body,
    },
    signal,
  );
}

/** What is asked for; how far the migration is, the cookie says. */
const digestOf = (domainUuid: string, { migrationUri, options }: PerformRequest): Uint8Array =>
  requestDigest({ domainUuid, migrationUri, options });

/** Perform's answer. The vote travels in the cookie; the destination's commit writes it into the register on our behalf. */
function answer(agent: SourceAgent, held: HeldOut): PerformResponse {
  const { ongoing, state } = held;
  const { statistics } = ongoing;
  const parts = { vote: { incarnation: state.incarnation }, statistics, paused: !state.wasRunning };
  return {
    cookieOut: Buffer.from(encodeCookie('perform3', originOf(agent, held), parts, Date.now(), state.cookieKey)),
    statistics,
  };
}

async function perform2(agent: SourceAgent, request: PerformRequest, signal: AbortSignal): Promise<PerformResponse> {
  const { migrationId } = request;
  const { domainUuid, domainName } = await locate(agent, request);
  const start = { migrationId, domainUuid, domainName, side: 'source', protocol: 2 } as const;

  const body = async (held: HeldOut, phaseSignal: AbortSignal): Promise<PerformResponse> => {
    const { state } = held;
    const { dest } = await beginHandover(agent.register, held, phaseSignal);
    state.destinationAddress = held.ongoing.peerAddress || dest;
    await send(agent, held, request, encryptionOf(agent, request), phaseSignal, trusted, () => undefined);
    // v2 has no cookies, so the vote must be in the register before the caller may call Finish.
    state.voted = true;
    await agent.register.vote({ ...handoverOf(held), ran: state.wasRunning }, phaseSignal).catch((error: unknown) => {
      // The one vote, and it was refused: nobody can commit by it.
      if (error instanceof HandoverError && error.kind === 'register-changed') state.voted = false;
      throw error;
    });
    state.sent = true;
    void recordVote(agent, held);
    return { cookieOut: Buffer.alloc(0), statistics: held.ongoing.statistics };
  };
  const make = async (callSignal: AbortSignal) => {
    encryptionOf(agent, request);
    const looked = await look(agent, start, callSignal);
    // v2 begins here: who has not asked DumpXml is told now.
    await refuseUnsafe(agent, await agent.hypervisor.domainOf(domainUuid), request.options, callSignal);
    return looked;
  };
  const run = {
    phase: 'perform2',
    request: digestOf(domainUuid, request),
    doneAs: 'perform2-done',
    outlivesLease: true,
    codec: PerformResponse,
    body,
  } as const;
  const response = await agent.migrations.open(start, make, run, signal);
  awaitDecision(agent, migrationId);
  return response;
}

/**
 * Should this host reboot, the journal says that the guest was sent whole, also where Redis has not recorded the phase. Not inside the blackout: until this
 * is written only the destination that has the vote can tell.
 */
async function recordVote(agent: SourceAgent, held: HeldOut): Promise<void> {
  await agent.gate.opened();
  if (held.ongoing.ended) return;
  await journal(agent, held).catch((error: unknown) => {
    agent.log.warn({ err: error, migrationId: held.ongoing.start.migrationId }, 'the vote could not be journaled');
  });
}

/** In v2 the caller alone says where memory goes. */
const trusted = (): Promise<void> => Promise.resolve();

/** Sends the guest's memory and state; `proven` is called before memory flows, `almostThere` is called when all figures of the switchover are known. */
async function send(
  agent: SourceAgent,
  held: HeldOut,
  request: PerformRequest,
  encryption: MemoryEncryption,
  signal: AbortSignal,
  proven: () => Promise<void>,
  almostThere: () => void,
): Promise<void> {
  const uri = uriOf(request);
  if (uri.kind === 'tcp' && uri.port === undefined) throw refusedUri(request.migrationUri, 'it has no port');
  if (uri.kind === 'unix') {
    const problem = socketProblem(uri.path, agent.config.migration.sockets) ?? (await socketMissing(uri.path));
    if (problem !== undefined) throw refusedUri(request.migrationUri, problem);
  }
  refuseDecided(held);
  await refuseUnreachable(agent, held, uri, signal);
  const limits = limitsOf(request.options);
  const { ongoing } = held;
  const guest = await guestOf(agent, held, signal);
  const { monitor } = guest;
  // The vote is given when QEMU says `completed`; that it may be given is durable before the guest is stopped.
  const readiness = new Readiness(agent, held, monitor, limits);
  await bringBack(agent, held, monitor, signal);
  await refuseBlockJobs(monitor, ongoing.start.domainName, signal);
  const tlsCreds = await agent.hypervisor.sendEncrypted(guest, encryption, signal);
  await configureOutgoing(monitor, limits, tlsCreds, signal);
  await Promise.all([journal(agent, held), readiness.check(signal)]);
  await readiness.connected(signal);
  await proven();
  const report = {
    progress: (status: string, figures: Partial<MigrationStatistics>) =>
      ongoing.progress(status, { ...ongoing.statistics, ...figures }),
    connecting: (connecting: AbortSignal): void => {
      if (tlsCreds !== '') endSilentHandshakes(agent, held, { guest, uri }, connecting);
    },
    watch: (memoryFlows: AbortSignal) => unsampled(() => readiness.watch(memoryFlows)),
    sending: (sending: AbortSignal) => unsampled(() => readiness.sending(sending)),
    whenQuiet: (run: () => void) => void agent.gate.whenOpen(run),
    notReady: () => {
      if (held.state.destroyed) {
        const message = `domain ${ongoing.start.domainName} is being destroyed on its user’s wish`;
        return new MigrationError('migration-cancelled', message);
      }
      held.state.switchedOver = true;
      return readiness.refusal();
    },
    ran: (now: boolean) => {
      held.state.wasRunning = now;
    },
    standsStill: (now: boolean) =>
      now ? agent.gate.close(ongoing.start.migrationId, 'connections') : agent.gate.open(ongoing.start.migrationId),
    mayRun: () => !held.state.pausing,
    stopped: async (atUs: number | undefined, runState: RunState) => {
      if (atUs !== undefined) return ongoing.switchover('source', atUs);
      // Nothing waits for a guest that does not run: a later life of this agent must not start it either.
      await Promise.all([journal(agent, held), agent.hypervisor.noteStopped(ongoing.start.domainUuid, runState)]);
    },
    almostThere: ({ stoppedAtUs, continuedAtUs }: SwitchoverTimes) => {
      if (stoppedAtUs !== undefined && continuedAtUs !== undefined) {
        const controlSourceUs = BigInt(continuedAtUs - stoppedAtUs);
        ongoing.statistics = { ...ongoing.statistics, stoppedAtUs: BigInt(stoppedAtUs), controlSourceUs };
      }
      almostThere();
    },
  };
  using _turn = await takeSendingTurn(agent.sending, signal);
  const way = { uri: formatMigrationUri(uri), stallMs: agent.config.stallMs };
  const sendOnce = (): Promise<void> => sendGuest(monitor, way, report, signal);
  await repeatHandshake(agent, held, sendOnce, () => readiness.check(signal)).catch(async (error: unknown) => {
    agent.gate.open(ongoing.start.migrationId);
    throw await firstCause(agent, held, error, signal);
  });
  // Where this agent calls Finish itself, until that is answered.
  if (!held.driven) agent.gate.open(ongoing.start.migrationId);
  refuseDecided(held);
}

const uriOf = ({ migrationUri }: PerformRequest): MigrationUri => parseMigrationUri(migrationUri);

/** v2 has no cookie: the caller says the same to both sides. Throws MigrationError memory-not-encrypted. */
const encryptionOf = (agent: SourceAgent, request: PerformRequest): MemoryEncryption =>
  encryptionAsked(request.options?.memoryTls, agent.config, uriOf(request));

const refusedUri = (uri: string, why: string): MigrationError =>
  new MigrationError('invalid-uri', `memory is not sent to ${uri}: ${why}; pass on what Prepare returned`);

/**
 * A guest that was paused, sent, and taken back is `postmigrate` still, and QEMU sends nothing in that state: it is made `paused`. This
 * makes its disks active, so that the host must own it.
 */
async function bringBack(agent: SourceAgent, held: HeldOut, monitor: Monitor, signal: AbortSignal): Promise<void> {
  const { status } = await monitor.execute('query-status', {}, signal);
  if (status !== 'postmigrate') return;
  const { domainUuid: uuid, domainName: name } = held.ongoing.start;
  await agent.owners.claim({ uuid, name }, 'keep', `sent again from host ${agent.config.host.name}`, signal);
  await monitor.contAndStop(signal);
}

/** A Confirm(cancelled) that came out of turn has given the migration up: no vote may follow, or the destination could commit as well. */
function refuseDecided({ ongoing, state }: HeldOut): void {
  if (state.decision === undefined) return;
  const { migrationId, domainName } = ongoing.start;
  throw new MigrationError(
    'not-migrating',
    `migration ${migrationId} of domain ${domainName} was given up: start anew`,
  );
}
