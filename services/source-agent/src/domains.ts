/** This host's domains: what is needed so that there is something to migrate. Whatever changes one does so under a short job. */
import type { ShortJobKind } from '@ferry/jobs';
import { HandoverError } from '@ferry/handover';
import { HypervisorError, type Guest } from '@ferry/hypervisor';
import { type Domain, DomainState, type AdoptRequest, type StartRequest } from '@ferry/proto/ferry/v1/domains';
import type { SourceAgent } from './agent.ts';

/** How long a QEMU may take to answer before its domain is listed as unknown. */
const answerMs = 2_000;

const stateOf: Readonly<Record<string, DomainState>> = {
  running: DomainState.DOMAIN_STATE_RUNNING,
  paused: DomainState.DOMAIN_STATE_PAUSED,
  prelaunch: DomainState.DOMAIN_STATE_PAUSED,
  inmigrate: DomainState.DOMAIN_STATE_INCOMING,
  'finish-migrate': DomainState.DOMAIN_STATE_MIGRATED,
  postmigrate: DomainState.DOMAIN_STATE_MIGRATED,
};

/** A domain of this host as callers see it. */
export async function describe(agent: SourceAgent, uuid: string, signal: AbortSignal): Promise<Domain> {
  const domain = await agent.hypervisor.domainOf(uuid);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
  const [guest, job] = await Promise.all([
    agent.hypervisor.guest(uuid, patience).catch(() => undefined),
    agent.jobs.activeOf(uuid, signal).catch(() => undefined),
  ]);
  const status = await guest?.monitor.execute('query-status', {}, patience).catch(() => undefined);
  const incoming = guest?.incoming === undefined ? undefined : DomainState.DOMAIN_STATE_INCOMING;
  return {
    uuid: domain.uuid,
    name: domain.name,
    state: incoming ?? stateOf[status?.status ?? ''] ?? DomainState.DOMAIN_STATE_UNKNOWN,
    qemuPid: guest?.process.pid ?? 0,
    memoryBytes: BigInt(domain.memoryBytes),
    vcpus: domain.vcpus,
    job: job?.kind ?? '',
    migrationId: job?.migrationId ?? '',
  };
}

export async function list(agent: SourceAgent, signal: AbortSignal): Promise<Domain[]> {
  const known = await agent.hypervisor.list();
  const described = await Promise.all(known.map((d) => describe(agent, d.uuid, signal).catch(() => undefined)));
  // One may end, or leave, while the others are being asked.
  return described.filter((domain) => domain !== undefined);
}

export async function startDomain(agent: SourceAgent, request: StartRequest, signal: AbortSignal): Promise<Domain> {
  const domain = agent.hypervisor.read(request.domainXml);
  await using _job = await agent.jobs.beginJob(domain.uuid, 'modify', 'Start', signal);
  const guest = await agent.hypervisor.create(domain, undefined, signal);
  try {
    await agent.register.claim(domain.uuid, agent.config.host.name, 'started', signal);
    if (!request.paused) await guest.monitor.execute('cont', {}, signal);
  } catch (error) {
    await agent.hypervisor.end(guest, 'kill');
    throw error;
  }
  return describe(agent, domain.uuid, signal);
}

export async function adopt(agent: SourceAgent, request: AdoptRequest, signal: AbortSignal): Promise<Domain> {
  const domain = agent.hypervisor.read(request.domainXml);
  await using _job = await agent.jobs.beginJob(domain.uuid, 'modify', 'Adopt', signal);
  await agent.hypervisor.adopt(request.monitorPath, domain, signal);
  await agent.register.claim(domain.uuid, agent.config.host.name, 'adopted', signal);
  return describe(agent, domain.uuid, signal);
}

/** Throws handover-refused if the record says that another host owns the guest. */
async function refuseForeign(agent: SourceAgent, uuid: string, signal: AbortSignal): Promise<void> {
  const owner = await agent.register.ownerOf(uuid, signal);
  if (owner === undefined || owner.host === agent.config.host.name) return;
  throw new HandoverError(
    'handover-refused',
    `domain ${uuid} belongs to host ${owner.host} since epoch ${owner.epoch} (${owner.evidence}): end it there first`,
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
  const uuid = await underJob(agent, nameOrUuid, 'suspend', 'Suspend', signal, async ({ monitor }) => {
    await monitor.execute('stop', {}, signal);
  });
  return describe(agent, uuid, signal);
}

export async function resume(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<Domain> {
  const uuid = await underJob(
    agent,
    nameOrUuid,
    'modify',
    'Resume',
    signal,
    async ({ name, uuid: id, incoming, monitor }) => {
      await refuseForeign(agent, id, signal);
      const { status } = await monitor.execute('query-status', {}, signal);
      // A guest that came in half, or was sent away, must not run by anybody's wish (P4).
      if (incoming !== undefined || (status !== 'paused' && status !== 'prelaunch' && status !== 'running')) {
        throw new HypervisorError('domain-not-running', `domain ${name} is ${status} and cannot be resumed`);
      }
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

export async function destroy(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<void> {
  await underJob(agent, nameOrUuid, 'destroy', 'Destroy', signal, (guest) => agent.hypervisor.end(guest, 'quit'));
}
