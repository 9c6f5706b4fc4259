/** `ferry start`, `list`, `get`, `dumpxml`, `suspend`, `resume`, `shutdown`, `destroy`, `adopt`. */
import { call } from '@ferry/rpc';
import { type Domain, DomainsService } from '@ferry/proto/ferry/v1/domains';
import { CliError } from '../cli-error.ts';
import { readDocument } from '../document-file.ts';
import { callError } from '../failure.ts';
import type { Host, Hosts } from '../hosts.ts';
import { census, type Found, hostOf } from '../locate.ts';
import { domainObject, migrating, printObject, throwFirst, unknownJobs } from '../view/domains.ts';
import { bytes, columns, stateWord } from '../words.ts';
import { print } from '../view/printable.ts';

/** Options that most of these commands share. */
export interface DomainOptions {
  readonly host?: string;
  readonly json?: boolean;
}

/** Starting a QEMU, or waiting for a job that holds the domain, takes its time. */
const changeMs = 90_000;

/** Starts a domain from a document; `-` is stdin. */
export async function start(
  hosts: Hosts,
  file: string,
  chosen: { host: string; paused?: boolean; json?: boolean },
): Promise<void> {
  const host = hosts.named(chosen.host);
  const request = { domainXml: readDocument(file), paused: chosen.paused === true };
  const { domain } = await asked(host, (signal) => call(host.source.client, DomainsService.start, request, signal));
  tell(host, domain, chosen.json, 'started');
}

/** Takes over a QEMU that somebody else started. */
export async function adopt(
  hosts: Hosts,
  file: string,
  chosen: { host: string; monitor: string; json?: boolean },
): Promise<void> {
  const host = hosts.named(chosen.host);
  const request = { domainXml: readDocument(file), monitorPath: chosen.monitor };
  const { domain } = await asked(host, (signal) => call(host.source.client, DomainsService.adopt, request, signal));
  tell(host, domain, chosen.json, 'adopted');
}

/** All domains of all hosts, or of one. A host that cannot be asked is named; the others are shown. */
export async function list(hosts: Hosts, chosen: DomainOptions): Promise<void> {
  const { found, unreachable } = await census(hosts.chosen(chosen.host));
  if (chosen.json === true) for (const each of found) printObject(domainObject(each));
  else if (found.length > 0 || unreachable.length === 0) print(table(found));
  throwFirst([...unreachable, ...unknownJobs(found)], chosen.json);
}

/** One domain, in words. */
export async function get(hosts: Hosts, nameOrUuid: string, chosen: DomainOptions): Promise<void> {
  const { host, domain, domainXml } = await fetched(hosts, nameOrUuid, chosen.host);
  if (chosen.json === true) return printObject({ ...domainObject({ host, domain }), domainXml });
  const { uuid, name, state, memoryBytes, vcpus, qemuPid } = domain;
  const rows = [
    ['name', name],
    ['uuid', uuid],
    ['host', host.name],
    ['state', `${stateWord(state)}${migrating(domain)}`],
    ['memory', bytes(memoryBytes)],
    ['vcpus', String(vcpus)],
    ['qemu', qemuPid === 0 ? '-' : `pid ${qemuPid}`],
  ];
  print(columns(rows));
}

/** The domain's document, completed: what the destination of a migration is given. */
export async function dumpXml(hosts: Hosts, nameOrUuid: string, chosen: DomainOptions): Promise<void> {
  const { domainXml } = await fetched(hosts, nameOrUuid, chosen.host);
  process.stdout.write(domainXml.endsWith('\n') ? domainXml : `${domainXml}\n`);
}

const changes = {
  suspend: { method: DomainsService.suspend, done: 'suspended' },
  resume: { method: DomainsService.resume, done: 'resumed' },
  shutdown: { method: DomainsService.shutdown, done: 'asked to shut down' },
} as const;

/** Pauses a guest, lets it go on, or asks it to shut down. */
export async function change(
  what: keyof typeof changes,
  hosts: Hosts,
  nameOrUuid: string,
  chosen: DomainOptions,
): Promise<void> {
  const host = await hostOf(hosts, nameOrUuid, chosen.host);
  const { method, done } = changes[what];
  const { domain } = await asked(host, (signal) => call(host.source.client, method, { domain: nameOrUuid }, signal));
  tell(host, domain, chosen.json, done);
}

/** Ends a guest's QEMU at once. */
export async function destroy(hosts: Hosts, nameOrUuid: string, chosen: DomainOptions): Promise<void> {
  const host = await hostOf(hosts, nameOrUuid, chosen.host);
  await asked(host, (signal) => call(host.source.client, DomainsService.destroy, { domain: nameOrUuid }, signal));
  if (chosen.json === true) printObject({ host: host.name, domain: nameOrUuid, destroyed: true });
  else print(`${nameOrUuid} destroyed on ${host.name}\n`);
}

async function fetched(
  hosts: Hosts,
  nameOrUuid: string,
  named: string | undefined,
): Promise<Found & { domainXml: string }> {
  const host = await hostOf(hosts, nameOrUuid, named);
  const { domain, domainXml } = await asked(host, (signal) =>
    call(host.source.client, DomainsService.get, { domain: nameOrUuid }, signal),
  );
  if (domain === undefined) throw new CliError('failed', `${host.source.name} answers without a domain`);
  return { host, domain, domainXml };
}

/** Makes a call with the usual patience, and says whose answer it was when it fails. */
async function asked<Response>({ source }: Host, act: (signal: AbortSignal) => Promise<Response>): Promise<Response> {
  const patience = AbortSignal.timeout(changeMs);
  try {
    return await act(patience);
  } catch (error) {
    if (error === patience.reason)
      throw new CliError('unavailable', `${source.name} does not answer in time`, { cause: error });
    throw callError(error, source.name);
  }
}

function tell(host: Host, domain: Domain | undefined, json: boolean | undefined, done: string): void {
  if (domain === undefined) return;
  if (json === true) printObject(domainObject({ host, domain }));
  else print(`${domain.name} ${done} on ${host.name}: ${stateWord(domain.state)}, ${domain.uuid}\n`);
}

function table(found: readonly Found[]): string {
  if (found.length === 0) return 'no domains\n';
  const rows = found.map(({ host, domain }) => {
    const { name, state, memoryBytes, vcpus, qemuPid, job, migrationId } = domain;
    return [
      host.name,
      name,
      stateWord(state),
      bytes(memoryBytes),
      String(vcpus),
      String(qemuPid),
      domain.jobUnknown !== '' ? '?' : job === '' ? '-' : `${job} ${migrationId}`,
    ];
  });
  return columns([['HOST', 'NAME', 'STATE', 'MEMORY', 'VCPUS', 'PID', 'JOB'], ...rows]);
}
