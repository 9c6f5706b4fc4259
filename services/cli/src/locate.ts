/** Finds what a user names without saying where it is. */
import { call, failureFromWire, isServiceError } from '@ferry/rpc';
import { type Domain, DomainsService } from '@ferry/proto/ferry/v1/domains';
import type { Migration } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { CliError } from './cli-error.ts';
import { callError } from './failure.ts';
import type { Host, Hosts } from './hosts.ts';
import { holdsGuest } from './words.ts';

const answerMs = 10_000;

/** A domain where it was found. */
export interface Found {
  readonly host: Host;
  readonly domain: Domain;
}

/** The domains of several hosts, and which hosts could not be asked. */
export interface Census {
  readonly found: readonly Found[];
  readonly unreachable: readonly CliError[];
}

/** Asks each host for its domains. */
export async function census(hosts: readonly Host[]): Promise<Census> {
  const answers = await Promise.allSettled(
    hosts.map((host) => call(host.source.client, DomainsService.list, {}, AbortSignal.timeout(answerMs))),
  );
  const found: Found[] = [];
  const unreachable: CliError[] = [];
  for (const [at, host] of hosts.entries()) {
    const answer = answers[at];
    if (answer?.status === 'fulfilled') found.push(...answer.value.domains.map((domain) => ({ host, domain })));
    else unreachable.push(listError(answer?.reason, host));
  }
  return { found, unreachable };
}

/** AbortSignal.timeout's reason is as much the agent's silence as gRPC's own DEADLINE_EXCEEDED. */
function listError(error: unknown, { source }: Host): CliError {
  if (isServiceError(error)) return callError(error, source.name);
  return new CliError('unavailable', `${source.name} does not answer in time`, { cause: error });
}

/** Every host that has a domain of that name or UUID, in whatever state. */
export function having({ found }: Census, nameOrUuid: string): Found[] {
  return found.filter(({ domain }) => domain.name === nameOrUuid || domain.uuid === nameOrUuid.toLowerCase());
}

/** The one host that a command about a domain is for: the one named, else the one that has the guest. Throws CliError. */
export async function hostOf(hosts: Hosts, nameOrUuid: string, host: string | undefined): Promise<Host> {
  if (host !== undefined) return hosts.named(host);
  const asked = await census(hosts.all);
  const all = having(asked, nameOrUuid);
  const holders = all.filter(({ domain }) => holdsGuest(domain));
  const [only, ...more] = holders.length > 0 ? holders : all;
  const [unreachable] = asked.unreachable;
  if (only === undefined && unreachable !== undefined) throw unreachable;
  if (only === undefined) throw new CliError('failed', `no host has a domain ${nameOrUuid}`, { next: 'ferry list' });
  if (more.length === 0) return only.host;
  const names = [only, ...more].map((each) => each.host.name).join(', ');
  throw new CliError('usage', `domain ${nameOrUuid} is on several hosts (${names})`, {
    next: 'say which one is meant with --host',
  });
}

/** The host whose source agent knows of a migration. Throws CliError. */
export async function locateMigration(
  hosts: readonly Host[],
  migrationId: string,
): Promise<{ host: Host; migration: Migration }> {
  // Agents want a domain's name with a migration id; they know this one by its id alone.
  const request = { migrationId, domain: migrationId };
  let silent: CliError | undefined;
  for (const host of hosts) {
    try {
      const { migration } = await call(
        host.source.client,
        SourceAgentService.getMigration,
        request,
        AbortSignal.timeout(answerMs),
      );
      if (migration !== undefined) return { host, migration };
    } catch (error) {
      const known = isServiceError(error) ? failureFromWire(error) : undefined;
      if (known?.reason !== 'unknown-migration') silent ??= listError(error, host);
    }
  }
  if (silent !== undefined) throw silent;
  const next = 'agents forget migrations that ended long ago; `ferry list` shows those that go on';
  throw new CliError('failed', `no host knows of a migration ${migrationId}`, { next });
}
