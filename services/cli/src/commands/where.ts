/** `ferry where`, `history`, `forget`: who has a guest, by what the hosts run and by the records that all hosts see. */
import { call } from '@ferry/lab/call';
import { DomainsService, type Ownership } from '@ferry/proto/ferry/v1/domains';
import { CliError } from '../cli-error.ts';
import { callError, failureFromWire, isServiceError } from '../failure.ts';
import type { Host, Hosts } from '../hosts.ts';
import { tellDoubts } from '../doubts.ts';
import { census, type Found, having } from '../locate.ts';
import { domainObject, migrating, printObject, throwFirst } from '../view/domains.ts';
import { migrationObject, migrationTable } from '../view/migrations.ts';
import { holdsGuest, stateWord } from '../words.ts';

interface WhereOptions {
  readonly json?: boolean;
}

const answerMs = 10_000;

/** Which host has the guest, and which host owns it. The first is what the hosts say now; the second holds while a host is away, too. */
export async function where(hosts: Hosts, nameOrUuid: string, chosen: WhereOptions): Promise<void> {
  const asked = await census(hosts.all);
  const all = having(asked, nameOrUuid);
  for (const found of all) tell(found, chosen.json);
  const uuids = new Set(all.map(({ domain }) => domain.uuid));
  const [uuid = nameOrUuid] = uuids;
  const owners = await ownersOf(hosts, uuids.size === 1 ? uuid : nameOrUuid);
  for (const owner of owners) tellOwner(owner, chosen.json);

  const inDoubt = await tellDoubts(all, chosen.json);

  const holders = all.filter(({ domain }) => holdsGuest(domain));
  if (holders.length > 1)
    throw new CliError('inDoubt', `several hosts say that they have ${nameOrUuid}`, {
      next: 'while it migrates, look again',
    });
  const [holder] = holders;
  const [owner] = owners;
  if (holder !== undefined) return contradict(holder, owner);
  throwFirst(asked.unreachable, chosen.json);
  if (inDoubt !== undefined)
    throw new CliError('inDoubt', `the migration ${inDoubt} of ${nameOrUuid} is in doubt`, {
      next: `what settles it is said above; docs/operations.md, "In doubt"`,
    });
  if (all.length > 0)
    throw new CliError('inDoubt', `no host has ${nameOrUuid} running or paused`, {
      next: 'look again when its migration is over',
    });
  if (owner !== undefined && owner.host !== '')
    throw new CliError('inDoubt', `host ${owner.host} owns ${nameOrUuid}, and no host that was asked has it`, {
      next: `if ${owner.host} is gone for good, and only then: ferry forget ${nameOrUuid} --host ${owner.host}`,
    });
  throw new CliError('failed', `no host has a domain ${nameOrUuid}`, { next: 'ferry list' });
}

/** A paused guest is claimed by nobody, and a running one within seconds. */
function contradict({ host, domain }: Found, owner: Ownership | undefined): void {
  if (owner === undefined || owner.host === '' || owner.host === host.name || domain.job !== '') return;
  throw new CliError('inDoubt', `host ${host.name} has ${domain.name}, and host ${owner.host} owns it`, {
    next: `look again; if it stays so, look for its QEMU on host ${owner.host}`,
  });
}

/** A domain's migrations, both halves of each, the latest first. */
export async function history(hosts: Hosts, nameOrUuid: string, chosen: WhereOptions): Promise<void> {
  const migrations = await anyOf(hosts, '', async ({ source }, signal) => {
    const answer = await call(source.client, DomainsService.history, { domain: nameOrUuid }, signal);
    return answer.migrations;
  });
  if (chosen.json === true) for (const migration of migrations) printObject(migrationObject(migration));
  else process.stdout.write(migrationTable(migrations));
}

/** Says for a person that a host which is gone will never run the guest again. */
export async function forget(
  hosts: Hosts,
  nameOrUuid: string,
  chosen: { readonly host: string; readonly json?: boolean },
): Promise<void> {
  const { host } = chosen;
  const known = hosts.all.find(({ name }) => name === host);
  if (known !== undefined && (await census([known])).unreachable.length === 0) {
    throw new CliError('usage', `host ${host} answers: it is not gone`, {
      next: `ferry destroy ${nameOrUuid} --host ${host}; a guest that has ended there is given up by its agent`,
    });
  }
  const request = { domain: nameOrUuid, host };
  const ownership = await anyOf(hosts, host, async (each, signal) => {
    const answer = await call(each.source.client, DomainsService.forget, request, signal);
    return answer.ownership;
  });
  if (chosen.json === true) printObject({ ...ownerObject(ownership), forgotten: host });
  else process.stdout.write(`${ownership?.name || nameOrUuid} is nobody’s now; it was host ${host}’s\n`);
}

/** What the record says; empty if there is none, or nobody can tell. */
async function ownersOf(hosts: Hosts, nameOrUuid: string): Promise<readonly Ownership[]> {
  try {
    return await anyOf(hosts, '', async ({ source }, signal) => {
      const { owners } = await call(source.client, DomainsService.where, { domain: nameOrUuid }, signal);
      return owners;
    });
  } catch (error) {
    // Who owns it is more than was asked for where a host has the guest; where none has it, its silence is told by the hosts' own errors.
    if (error instanceof CliError) return [];
    throw error;
  }
}

/** The first host's answer, of any agent but `not`'s; a refusal is an answer. Throws CliError. */
async function anyOf<T>(hosts: Hosts, not: string, ask: (host: Host, signal: AbortSignal) => Promise<T>): Promise<T> {
  let silent: CliError | undefined;
  for (const host of hosts.all) {
    if (host.name === not) continue;
    try {
      return await ask(host, AbortSignal.timeout(answerMs));
    } catch (error) {
      const told = isServiceError(error) ? failureFromWire(error) : undefined;
      if (told !== undefined) throw callError(error, host.source.name);
      silent ??= isServiceError(error)
        ? callError(error, host.source.name)
        : new CliError('unavailable', `${host.source.name} does not answer in time`, { cause: error });
    }
  }
  throw silent ?? new CliError('usage', 'there is no other host that could be asked');
}

function tell(found: Found, json: boolean | undefined): void {
  const { host, domain } = found;
  if (json === true) printObject(domainObject(found));
  else process.stdout.write(`${domain.name} is ${stateWord(domain.state)} on ${host.name}${migrating(domain)}\n`);
}

function tellOwner(owner: Ownership, json: boolean | undefined): void {
  if (json === true) return printObject(ownerObject(owner));
  const who = owner.host === '' ? 'nobody' : owner.host;
  process.stdout.write(
    `  owner   ${who} since ${owner.since?.toISOString() ?? '?'} (epoch ${owner.epoch}: ${owner.evidence})\n`,
  );
}

function ownerObject(owner: Ownership | undefined): Record<string, unknown> {
  if (owner === undefined) return {};
  const { uuid, name, host, epoch, evidence, since } = owner;
  return { name, uuid, owner: host === '' ? null : host, epoch: Number(epoch), evidence, since: since?.toISOString() };
}
