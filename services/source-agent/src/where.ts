/** What the ownership records say, for people: who has a guest, and that a host which had one is gone. */
import { describeRecord } from '@ferry/agent';
import { HandoverError, type Owner } from '@ferry/handover';
import { HypervisorError } from '@ferry/hypervisor';
import type {
  ForgetHostRequest,
  ForgetHostResponse,
  ForgetRequest,
  Ownership,
  WhereRequest,
  WhereResponse,
} from '@ferry/proto/ferry/v1/domains';
import type { Migration } from '@ferry/proto/ferry/v1/migration';
import { MigrationError } from '@ferry/migration';
import { type SourceAgent, uuidPattern } from './agent.ts';

/** Records named to a caller. */
const namedMax = 100;

/** Throws domain-not-found, unless it may be in a record that is damaged. */
export async function where(agent: SourceAgent, request: WhereRequest, signal: AbortSignal): Promise<WhereResponse> {
  const { owners, damaged } = await readOwners(agent, request.domain, signal);
  if (owners.length === 0 && damaged.length === 0) throw notFound(request.domain, damaged);
  return { owners: owners.map(wireFrom), damaged: damaged.slice(0, namedMax) };
}

/** The migrations of a domain, the latest first. Throws domain-not-found for a name that nobody owns or has owned. */
export async function history(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<Migration[]> {
  const domains = uuidPattern.test(nameOrUuid)
    ? [nameOrUuid.toLowerCase()]
    : (await ownersOf(agent, nameOrUuid, signal)).map(({ domain }) => domain);
  const records = await Promise.all(domains.map((domain) => agent.jobs.recordsOf(domain, signal)));
  return records.flat().map(describeRecord);
}

/**
 * Takes a guest from a host that will never run it again, which only a person can know. If that is not true the host claims the guest
 * again as soon as its agent looks. Throws domain-not-found, domain-exists, invalid-request; whatever keeps this host from saying whether it has the guest.
 */
export async function forget(agent: SourceAgent, request: ForgetRequest, signal: AbortSignal): Promise<Ownership> {
  const [owner, ...more] = await ownersOf(agent, request.domain, signal);
  if (owner === undefined || more.length > 0) {
    const uuids = [owner, ...more].map((each) => each?.domain).join(', ');
    throw new MigrationError(
      'invalid-request',
      `several domains are named ${request.domain}: say which UUID (${uuids})`,
    );
  }
  if (owner.host === '') return wireFrom(owner);
  if (owner.host !== request.host) {
    const message = `domain ${owner.name} (${owner.domain}) belongs to host ${owner.host}, not to ${request.host}: name the host that is gone`;
    throw new MigrationError('invalid-request', message);
  }
  if (owner.host === agent.config.host.name && (await isHere(agent, owner.domain))) {
    throw new HypervisorError(
      'domain-exists',
      `domain ${owner.name} is on this host, which is not gone: end it with Destroy`,
    );
  }
  const now = await agent.owners.release(owner, `somebody said that host ${owner.host} is gone`, signal);
  if (now === undefined || now.host === '') return wireFrom(now ?? { ...owner, host: '' });
  const message = `domain ${owner.name} has just become host ${now.host}’s (epoch ${now.epoch}: ${now.evidence}): look again`;
  throw new MigrationError('invalid-request', message);
}

/** Guests named in a refusal. */
const guestsNamedMax = 10;

/**
 * Frees the name of a host that is gone for good, which only a person can know. Throws HandoverError host-unknown, host-alive, and owned-elsewhere where
 * guests are that host's by the record: whether each of them may be started elsewhere is a question of its own.
 */
export async function forgetHost(
  agent: SourceAgent,
  { host }: ForgetHostRequest,
  signal: AbortSignal,
): Promise<ForgetHostResponse> {
  const guests: string[] = [];
  const skip = (domain: string, error: HandoverError): void =>
    agent.log.warn({ err: error, domain }, 'an ownership record is damaged and was skipped');
  for await (const owner of agent.owners.all(signal, skip))
    if (host !== '' && owner.host === host) guests.push(owner.name || owner.domain);
  if (guests.length > 0) {
    const named = guests.slice(0, guestsNamedMax).join(', ');
    const more = guests.length > guestsNamedMax ? ` and ${guests.length - guestsNamedMax} more` : '';
    const message = `host ${host} owns ${guests.length} guests: ${named}${more}; forget each of them first (ferry forget NAME --host ${host})`;
    throw new HandoverError('owned-elsewhere', message);
  }
  const hostUuid = await agent.hostNames.forget(host, signal);
  agent.log.warn({ host, hostUuid }, 'the host was forgotten on request');
  return { hostUuid };
}

/** A domain of which the host cannot say may be here: throws why. */
const isHere = (agent: SourceAgent, domain: string): Promise<boolean> =>
  agent.hypervisor.find(domain).then(
    () => true,
    (error: unknown) => {
      if (error instanceof HypervisorError && error.kind === 'domain-not-found') return false;
      throw error;
    },
  );

interface Read {
  readonly owners: readonly Owner[];
  /** What could not be read. */
  readonly damaged: readonly string[];
}

/** By UUID, else by name: those that somebody owns, or else the one that was given up last. */
async function readOwners(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<Read> {
  const found: Owner[] = [];
  const damaged: string[] = [];
  const skip = (domain: string, error: HandoverError): void => {
    damaged.push(domain);
    agent.log.warn({ err: error, domain }, 'an ownership record is damaged and was skipped');
  };
  if (uuidPattern.test(nameOrUuid)) {
    const owner = await agent.owners.of(nameOrUuid.toLowerCase(), signal);
    if (owner !== undefined) found.push(owner);
  } else {
    for await (const owner of agent.owners.all(signal, skip)) if (owner.name === nameOrUuid) found.push(owner);
  }
  const owned = found.filter(({ host }) => host !== '');
  const last = found.toSorted((a, b) => b.sinceMs - a.sinceMs).slice(0, 1);
  return { owners: owned.length > 0 ? owned : last, damaged };
}

/** Throws domain-not-found. */
async function ownersOf(agent: SourceAgent, nameOrUuid: string, signal: AbortSignal): Promise<readonly Owner[]> {
  const { owners, damaged } = await readOwners(agent, nameOrUuid, signal);
  if (owners.length === 0) throw notFound(nameOrUuid, damaged);
  return owners;
}

function notFound(nameOrUuid: string, damaged: readonly string[]): HypervisorError {
  const domain = JSON.stringify(nameOrUuid.slice(0, 100));
  const skipped = damaged.slice(0, 5).map((each) => JSON.stringify(each));
  const more = damaged.length > skipped.length ? ` and ${damaged.length - skipped.length} more` : '';
  const unread =
    damaged.length === 0 ? '' : `; records that are damaged and were skipped: ${skipped.join(', ')}${more}`;
  return new HypervisorError(
    'domain-not-found',
    `no ownership record names a domain ${domain}: nobody has started it, or Redis has forgotten${unread}`,
  );
}

const wireFrom = ({ domain, name, host, epoch, evidence, sinceMs }: Owner): Ownership => ({
  uuid: domain,
  name,
  host,
  epoch: BigInt(epoch),
  evidence,
  since: new Date(sinceMs),
});
