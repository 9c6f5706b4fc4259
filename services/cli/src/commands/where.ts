/** `ferry where`, `history`, `forget`, `forget-host`: who has a guest, by what the hosts run and by the records that all hosts see. */
import { call, failureFromWire, isServiceError } from '@ferry/rpc';
import { DomainsService, type Ownership } from '@ferry/proto/ferry/v1/domains';
import { CliError } from '../cli-error.ts';
import { callError } from '../failure.ts';
import type { Host, Hosts } from '../hosts.ts';
import { tellDoubts } from '../doubts.ts';
import { census, type Found, having } from '../locate.ts';
import { domainObject, migrating, printObject, tellErrors, throwFirst, unknownJobs } from '../view/domains.ts';
import { migrationObject, migrationTable } from '../view/migrations.ts';
import { holdsGuest, stateWord } from '../words.ts';
import { print } from '../view/printable.ts';

interface WhereOptions {
  readonly json?: boolean;
}

const answerMs = 10_000;

/**
 * Which host has the guest, and which host owns it. The first is what the hosts say now; the second holds while a host is away, too. Whatever
 * could not be asked ends the command with an error of its own: before a host is fenced, silence must not look like an answer.
 */
export async function where(hosts: Hosts, nameOrUuid: string, chosen: WhereOptions): Promise<void> {
  const { json } = chosen;
  const asked = await census(hosts.all);
  const all = having(asked, nameOrUuid);
  for (const found of all) tell(found, json);
  const uuids = new Set(all.map(({ domain }) => domain.uuid));
  const [uuid = nameOrUuid] = uuids;
  const { owners, damaged, silence } = await ownersOf(hosts, uuids.size === 1 ? uuid : nameOrUuid, nameOrUuid);
  for (const owner of owners) tellOwner(owner, json);
  if (silence !== undefined) tellUnknownOwner(silence, json);
  const doubts = await tellDoubts(all, json);

  for (const owner of owners) uuids.add(owner.uuid);
  if (uuids.size > 1) throw severalDomains(nameOrUuid, uuids);
  const missing = [...asked.unreachable, ...unknownJobs(all), ...doubts.unasked, ...unread(damaged)];
  const known = { nameOrUuid, all, owner: owners[0], inDoubt: doubts.inDoubt, missing, silence };
  if (isConfirmed(known)) tellErrors(missing, json);
  else throwFirst(verdict(known), json);
}

interface Known {
  readonly nameOrUuid: string;
  readonly all: readonly Found[];
  readonly owner: Ownership | undefined;
  /** The migration that is in doubt. */
  readonly inDoubt: string | undefined;
  /** What could not be asked of hosts, and of the ownership record. */
  readonly missing: readonly CliError[];
  readonly silence: CliError | undefined;
}

/** One host has the guest and owns it, so that hosts which do not answer cannot run it: they are named, and change nothing. */
function isConfirmed({ all, owner, inDoubt, silence }: Known): boolean {
  const [holder, ...more] = all.filter(({ domain }) => holdsGuest(domain));
  const isAlone = holder !== undefined && more.length === 0 && holder.host.name === owner?.host;
  return isAlone && silence === undefined && inDoubt === undefined;
}

/** What the command ends with, the last of them counts; empty if one host has the guest, owns it, and everything was asked. */
function verdict({ nameOrUuid, all, owner, inDoubt, missing, silence }: Known): CliError[] {
  const unasked = [...missing, ...(silence === undefined ? [] : [silence])];
  const holders = all.filter(({ domain }) => holdsGuest(domain));
  const [holder] = holders;
  const moving = all.some(({ domain }) => domain.job !== '');
  if (holders.length > 1) {
    const names = holders.map(({ host }) => host.name).join(' and ');
    const next = 'while it migrates, look again; else end the QEMU that the owner does not have';
    return [...unasked, new CliError('contradiction', `hosts ${names} have ${nameOrUuid}`, { next })];
  }
  if (inDoubt !== undefined) {
    const next = 'what settles it is said above; docs/operations.md, "In doubt"';
    return [...unasked, new CliError('inDoubt', `migration ${inDoubt} of ${nameOrUuid} is in doubt`, { next })];
  }
  const contradiction = holder === undefined ? undefined : contradicts(holder, owner);
  if (contradiction !== undefined) return [...unasked, contradiction];
  if (holder !== undefined || unasked.length > 0) return unasked;
  if (moving) {
    const next = 'look again when its migration is over';
    return [new CliError('migrating', `no host has ${nameOrUuid} running or paused while it migrates`, { next })];
  }
  if (all.length > 0) {
    const next = `ferry list shows its state; ferry history ${nameOrUuid} how its migrations ended`;
    return [new CliError('contradiction', `no host has ${nameOrUuid} running or paused`, { next })];
  }
  if (owner !== undefined && owner.host !== '') {
    const next = `if ${owner.host} is gone for good, and only then: ferry forget ${nameOrUuid} --host ${owner.host}`;
    return [
      new CliError('contradiction', `host ${owner.host} owns ${nameOrUuid}, and no host that was asked has it`, {
        next,
      }),
    ];
  }
  return [new CliError('failed', `no host has a domain ${nameOrUuid}`, { next: 'ferry list' })];
}

/** A paused guest is claimed when its migration is over, and a running one within seconds. */
function contradicts({ host, domain }: Found, owner: Ownership | undefined): CliError | undefined {
  if (owner === undefined || owner.host === '' || owner.host === host.name || domain.job !== '') return undefined;
  return new CliError('contradiction', `host ${host.name} has ${domain.name}, and host ${owner.host} owns it`, {
    next: `look again; if it stays so, look for its QEMU on host ${owner.host}`,
  });
}

function severalDomains(name: string, uuids: ReadonlySet<string>): CliError {
  const [first = ''] = uuids;
  const message = `${uuids.size} domains are named ${name}: ${[...uuids].join(', ')}`;
  return new CliError('failed', message, { next: `say which UUID is meant: ferry where ${first}` });
}

/** A domain's migrations, both halves of each, the latest first. */
export async function history(hosts: Hosts, nameOrUuid: string, chosen: WhereOptions): Promise<void> {
  const migrations = await anyOf(hosts, '', async ({ source }, signal) => {
    const answer = await call(source.client, DomainsService.history, { domain: nameOrUuid }, signal);
    return answer.migrations;
  });
  if (chosen.json === true) for (const migration of migrations) printObject(migrationObject(migration));
  else print(migrationTable(migrations));
}

/** Says for a person that a host which is gone will never run the guest again. */
export async function forget(
  hosts: Hosts,
  nameOrUuid: string,
  chosen: { readonly host: string; readonly json?: boolean },
): Promise<void> {
  const { host } = chosen;
  await refuseAlive(
    hosts,
    host,
    `ferry destroy ${nameOrUuid} --host ${host}; a guest that has ended there is given up by its agent`,
  );
  const request = { domain: nameOrUuid, host };
  const ownership = await anyOf(hosts, host, async (each, signal) => {
    const answer = await call(each.source.client, DomainsService.forget, request, signal);
    return answer.ownership;
  });
  if (chosen.json === true) printObject({ ...ownerObject(ownership), forgotten: host });
  else print(`${ownership?.name || nameOrUuid} has no owner now; it was host ${host}\n`);
}

/** Says for a person that a host is gone for good: its name is free, and it has no jobs any more. */
export async function forgetHost(hosts: Hosts, host: string, chosen: WhereOptions): Promise<void> {
  await refuseAlive(hosts, host, 'end its agents first, and wait for 15 s');
  const { hostUuid } = await anyOf(hosts, host, ({ source }, signal) =>
    call(source.client, DomainsService.forgetHost, { host }, signal),
  );
  if (chosen.json === true) printObject({ forgotten: host, hostUuid });
  else print(`host ${host} (${hostUuid}) is forgotten: another host may have its name\n`);
}

/** Throws CliError usage for a host that answers. */
async function refuseAlive(hosts: Hosts, host: string, next: string): Promise<void> {
  const known = hosts.all.find(({ name }) => name === host);
  if (known === undefined || (await census([known])).unreachable.length > 0) return;
  throw new CliError('usage', `host ${host} answers: it is not gone`, { next });
}

/** Records that nobody can read are no answer: one of them may be this domain's. */
function unread(damaged: readonly string[]): CliError[] {
  if (damaged.length === 0) return [];
  const message = `ownership records that are damaged were skipped: ${damaged.map((each) => JSON.stringify(each)).join(', ')}`;
  const next =
    "look at each in Redis (redis-cli HGETALL 'ferry:{ID}:owner') and delete it: the host that has the guest writes it anew";
  return [new CliError('unavailable', message, { next })];
}

/** What the records say; none if there is none. `silence`: why they could not be read, which is no answer. */
async function ownersOf(
  hosts: Hosts,
  domain: string,
  calledBy: string,
): Promise<{
  readonly owners: readonly Ownership[];
  readonly damaged: readonly string[];
  readonly silence?: CliError;
}> {
  try {
    return await anyOf(hosts, '', async ({ source }, signal) => {
      const { owners, damaged } = await call(source.client, DomainsService.where, { domain }, signal);
      return { owners, damaged };
    });
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    if (error.failure?.reason === 'domain-not-found') return { owners: [], damaged: [] };
    const { failure, next = 'check Redis, and look again', ending } = error;
    const message = `which host owns ${calledBy} is not known: ${error.message}`;
    return { owners: [], damaged: [], silence: new CliError(ending, message, { failure, next, cause: error }) };
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
  else print(`${domain.name} is ${stateWord(domain.state)} on ${host.name}${migrating(domain)}\n`);
}

function tellOwner(owner: Ownership, json: boolean | undefined): void {
  if (json === true) return printObject(ownerObject(owner));
  const who = owner.host === '' ? 'none' : owner.host;
  print(`  owner   ${who} since ${owner.since?.toISOString() ?? '?'} (epoch ${owner.epoch}: ${owner.evidence})\n`);
}

function tellUnknownOwner(silence: CliError, json: boolean | undefined): void {
  if (json === true) printObject({ event: 'owner-unknown', message: silence.message });
  else print('  owner   not known\n');
}

function ownerObject(owner: Ownership | undefined): Record<string, unknown> {
  if (owner === undefined) return {};
  const { uuid, name, host, epoch, evidence, since } = owner;
  return { name, uuid, owner: host === '' ? null : host, epoch: Number(epoch), evidence, since: since?.toISOString() };
}
