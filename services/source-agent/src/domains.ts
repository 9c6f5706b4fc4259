/** This host's domains: what is needed so that there is something to migrate. Whatever changes one does so under a short job. */
import { domainStateOf, logNotes, refuseOtherRequest, requestDigest } from '@ferry/agent';
import type { Owner } from '@ferry/handover';
import type { ShortJobKind } from '@ferry/jobs';
import { HypervisorError, type Guest } from '@ferry/hypervisor';
import {
  type Domain,
  DomainState,
  type AdoptRequest,
  type GetResponse,
  type StartRequest,
} from '@ferry/proto/ferry/v1/domains';
import { MigrationError } from '@ferry/migration';
import { type SourceAgent, uuidPattern } from './agent.ts';
import { shownXml } from './departure.ts';
import { openMigration } from './open-migration.ts';
import { duringMigration } from './during-migration.ts';

/** How long a QEMU may take to answer before its domain is listed as unknown. */
const answerMs = 2_000;

/** How old a guest's state may be that is shown, where no event has told of a change; the look at ownership asks twice as often, ms. */
const stateKeptMs = 10_000;

/** A domain of this host as callers see it. */
async function describe(agent: SourceAgent, uuid: string, signal: AbortSignal): Promise<Domain> {
  const domain = await agent.hypervisor.domainOf(uuid);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
  const [guest, read] = await Promise.all([
    agent.hypervisor.guest(uuid, patience).catch(() => undefined),
    agent.jobs.activeOf(uuid, signal).then(
      (job) => ({ job, unknown: '' }),
      (error: unknown) => ({ job: undefined, unknown: error instanceof Error ? error.message : String(error) }),
    ),
  ]);
  const incoming = guest?.incoming === undefined ? undefined : DomainState.DOMAIN_STATE_INCOMING;
  const free = read.job === undefined && read.unknown === '';
  // A migration changes it from elsewhere, too.
  const keptMs = free && incoming === undefined ? stateKeptMs : 0;
  const status =
    guest === undefined || incoming !== undefined
      ? undefined
      : await agent.hypervisor.runState(guest, keptMs, patience).catch(() => undefined);
  // It did not run, it was sent, and it is here again.
  const isBack = status === 'postmigrate' && free && (await isSettled(agent, uuid, signal));
  const here = domainStateOf(isBack ? agent.hypervisor.stoppedAs(uuid) : status);
  return {
    uuid: domain.uuid,
    name: domain.name,
    state: incoming ?? here,
    qemuPid: guest?.process.pid ?? 0,
    memoryBytes: BigInt(domain.memoryBytes),
    vcpus: domain.vcpus,
    job: read.job?.kind ?? '',
    migrationId: read.job?.migrationId ?? '',
    jobUnknown: read.unknown,
  };
}

/** Where that cannot be known now it is not said. */
const isSettled = (agent: SourceAgent, domain: string, signal: AbortSignal): Promise<boolean> =>
  openMigration(agent, domain, signal).then(
    (open) => open === undefined,
    () => false,
  );

export async function list(agent: SourceAgent, signal: AbortSignal): Promise<Domain[]> {
  const known = await agent.hypervisor.list();
  const described = await Promise.all(known.map((d) => describe(agent, d.uuid, signal).catch(() => undefined)));
  // One may end, or leave, while the others are being asked.
  return described.filter((domain) => domain !== undefined);
}

/** Throws domain-not-found. */
export async function get(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<GetResponse> {
  const { uuid } = await agent.hypervisor.find(nameOrUuid);
  const [domain, domainXml, read] = await Promise.all([
    describe(agent, uuid, signal),
    agent.hypervisor.xmlOf(uuid),
    agent.hypervisor.domainOf(uuid),
  ]);
  return { domain, domainXml: shownXml(read, domainXml) };
}

/** Throws owned-elsewhere, before anything is begun and again in the step that makes this host the owner. */
export async function startDomain(agent: SourceAgent, request: StartRequest, signal: AbortSignal): Promise<Domain> {
  const domain = await agent.hypervisor.readGiven(request.domainXml, signal);
  const cpu = await agent.hypervisor.admission.cpuProblem(domain, signal);
  if (cpu !== undefined) throw cpu;
  await using _job = await agent.jobs.beginJob(domain.uuid, 'modify', 'Start', signal);
  if (await wasStarted(agent, domain.uuid, request, signal)) return await describe(agent, domain.uuid, signal);
  await agent.owners.refuseForeign(domain, signal);
  await agent.ownership.endIfNeverStarted(domain.uuid, signal);
  using _coming = agent.ownership.expect(domain.uuid);
  const guest = await agent.hypervisor.create(domain, undefined, signal);
  logNotes(agent.log, domain, await agent.hypervisor.admission.notes(domain));
  let owner: Owner | undefined;
  try {
    owner = await agent.owners.claim(domain, 'start', `started on host ${agent.config.host.name}`, signal);
    if (request.paused) await agent.hypervisor.settle(guest);
    else await guest.monitor.execute('cont', {}, signal);
  } catch (error) {
    await agent.hypervisor.end(guest, 'kill');
    await unclaim(agent, owner);
    throw error;
  }
  agent.ownership.watch(guest);
  // One that runs is settled by the next look as well.
  if (!request.paused)
    await agent.hypervisor.settle(guest).catch((error: unknown) => {
      agent.log.warn({ err: error, domain: domain.uuid }, 'that the domain was started could not be noted');
    });
  await keepStart(agent, domain.uuid, request, signal);
  // Awaited here: the job ends after it, and a guest that is gone by then is this call's to report.
  return await describe(agent, domain.uuid, signal);
}

const digestOf = ({ domainXml, paused }: StartRequest): Uint8Array => requestDigest({ domainXml, paused });

/** Whether this very request has started the guest already. Throws MigrationError request-differs, invalid-request. */
async function wasStarted(
  agent: SourceAgent,
  domain: string,
  request: StartRequest,
  signal: AbortSignal,
): Promise<boolean> {
  const { requestId } = request;
  if (requestId === undefined) return false;
  if (!uuidPattern.test(requestId)) {
    throw new MigrationError(
      'invalid-request',
      `request_id must be a UUID, not ${JSON.stringify(requestId.slice(0, 60))}`,
    );
  }
  const known = await agent.jobs.requestOf(domain, requestId, signal);
  if (known === undefined) return false;
  refuseOtherRequest(known, digestOf(request), `Start under request_id ${requestId}`);
  return true;
}

/** The guest runs by now, whatever Redis says: a call that is repeated without this is refused with domain-exists. */
async function keepStart(
  agent: SourceAgent,
  domain: string,
  request: StartRequest,
  signal: AbortSignal,
): Promise<void> {
  if (request.requestId === undefined) return;
  await agent.jobs.keepRequest(domain, request.requestId, digestOf(request), signal).catch((error: unknown) => {
    agent.log.warn(
      { err: error, domain, requestId: request.requestId },
      'that the domain was started under this id could not be recorded',
    );
  });
}

/** The claim comes first: a QEMU that runs here is not ours to end if another host owns its guest. */
export async function adopt(agent: SourceAgent, request: AdoptRequest, signal: AbortSignal): Promise<Domain> {
  const domain = await agent.hypervisor.readGiven(request.domainXml, signal);
  await using _job = await agent.jobs.beginJob(domain.uuid, 'modify', 'Adopt', signal);
  using _coming = agent.ownership.expect(domain.uuid);
  const known = await agent.hypervisor.known(domain);
  if (known !== undefined) throw known;
  const before = await agent.owners.of(domain.uuid, signal);
  // A new epoch: nobody who still means the guest of before can take this one.
  const owner = await agent.owners.claim(domain, 'start', `adopted on host ${agent.config.host.name}`, signal);
  try {
    agent.ownership.watch(await agent.hypervisor.adopt(request.monitorPath, domain, signal));
  } catch (error) {
    if (before?.host !== owner.host) await unclaim(agent, owner);
    throw error;
  }
  return await describe(agent, domain.uuid, signal);
}

/** What was claimed has not come about. If Redis is away now, the record is put right when it is back. */
async function unclaim(agent: SourceAgent, owner: Owner | undefined): Promise<void> {
  if (owner === undefined) return;
  await agent.owners
    .release(owner, `it could not be ${owner.evidence}`, AbortSignal.timeout(answerMs))
    .catch((error: unknown) =>
      agent.log.warn({ err: error, domain: owner.domain }, 'the claim could not be taken back'),
    );
}

/** Runs `act` on a guest under a short job. */
async function underJob(
  agent: SourceAgent,
  nameOrUuid: string,
  kind: ShortJobKind,
  api: string,
  signal: AbortSignal,
  act: (guest: Guest) => Promise<void>,
): Promise<string> {
  const { uuid } = await agent.hypervisor.find(nameOrUuid);
  await using _job = await agent.jobs.beginJob(uuid, kind, api, signal);
  await act(await agent.hypervisor.guest(uuid, signal));
  return uuid;
}

export async function suspend(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<Domain> {
  const uuid = await underJob(agent, nameOrUuid, 'suspend', 'Suspend', signal, async (guest) => {
    await duringMigration(agent, guest, 'pausing', () => guest.monitor.execute('stop', {}, signal), signal);
  });
  return describe(agent, uuid, signal);
}

/** QEMU refuses `cont` to a guest that has shut down, and to one with an internal error; one that sleeps is woken, not resumed. */
const resumable: ReadonlySet<string> = new Set([
  'paused',
  'prelaunch',
  'running',
  'io-error',
  'watchdog',
  'guest-panicked',
]);

export async function resume(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<Domain> {
  const uuid = await underJob(
    agent,
    nameOrUuid,
    'modify',
    'Resume',
    signal,
    async ({ name, uuid: id, incoming, monitor }) => {
      await agent.owners.refuseForeign({ uuid: id, name }, signal);
      const { status } = await monitor.execute('query-status', {}, signal);
      // A guest that came in half, or was sent away, must not run by its user's wish. One that is here again is as it was before it was sent.
      const open = status === 'postmigrate' ? await openMigration(agent, id, signal) : undefined;
      const isBack = status === 'postmigrate' && open === undefined;
      const runState = isBack ? agent.hypervisor.stoppedAs(id) : status;
      if (incoming !== undefined || !resumable.has(runState)) {
        const why = open === undefined ? '' : `: ${open}`;
        throw new HypervisorError('domain-not-running', `domain ${name} is ${runState} and cannot be resumed${why}`);
      }
      await agent.owners.claim({ uuid: id, name }, 'keep', `resumed on host ${agent.config.host.name}`, signal);
      await monitor.execute('cont', {}, signal);
    },
  );
  return describe(agent, uuid, signal);
}

export async function shutdown(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<Domain> {
  const uuid = await underJob(agent, nameOrUuid, 'modify', 'Shutdown', signal, async ({ monitor }) => {
    await monitor.execute('system_powerdown', {}, signal);
  });
  return describe(agent, uuid, signal);
}

/** A guest that a migration holds stays its host's until that is over: what has been decided may still stand. */
export async function destroy(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<void> {
  const uuid = await underJob(agent, nameOrUuid, 'destroy', 'Destroy', signal, (guest) => {
    return duringMigration(agent, guest, 'destroyed', () => agent.hypervisor.end(guest, 'quit'), signal);
  });
  await agent.ownership.lookAt(uuid, signal).catch((error: unknown) => {
    agent.log.warn({ err: error, domain: uuid }, 'the guest has ended; its ownership is given up when Redis answers');
  });
}
