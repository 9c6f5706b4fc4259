/** A caller whose role is for some domains, on every method of both agents: what names another domain is refused. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Client, status } from '@grpc/grpc-js';
import { dial, invoke, openCredentials, permissions } from '@ferry/agent';
import { DestAgentService } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsService } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { SourceAgentService } from '@ferry/proto/ferry/v1/source_agent';
import { codeOf, methods } from './every-method.ts';
import { callsOf, endOf, patience, refusal, type TestGuest, World } from './world.ts';

/** About no domain: what it answers is left out, or it is refused. */
const list = DomainsService.list.path;
const forgetHost = DomainsService.forgetHost.path;

let dir: string;
let world: World;
let clients: { readonly source: Client; readonly dest: Client };
let theirs: TestGuest;
let ours: TestGuest;
let migrationId: string;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ferry-rules-'));
  const file = join(dir, 'roles.json');
  const grant = { name: 'spiffe://ferry.lab/team/ferry/none', role: 'admin', domains: ['web-*'] };
  writeFileSync(file, JSON.stringify([grant]));
  world = await World.start({ env: { FERRY_ROLES: file } });
  const credentials = await openCredentials(await world.lab.issue('team', 'none'));
  clients = { source: dial(world.a.sourceAddress, credentials), dest: dial(world.b.destAddress, credentials) };
  ours = await world.boot(world.a, { name: 'web-1' });
  theirs = await world.boot(world.a, { name: 'db-1' });
  // Their migration, half-way.
  migrationId = randomUUID();
  const names = { migrationId, domain: theirs.uuid, protocol: Protocol.PROTOCOL_V3 } as const;
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '', paused: false };
  await callsOf(world.b).prepare({ migrationId, protocol: names.protocol, ...place });
});
afterAll(async () => {
  for (const client of Object.values(clients)) client.close();
  await world[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

type Method = (typeof methods)[number]['method'];

const emptyOf = (method: Method): object => (method.requestDeserialize as (bytes: Buffer) => object)(Buffer.alloc(0));

/** A request of that method with these fields, where it has them. */
function requestOf(method: Method, fields: object): Buffer {
  const filled = (message: object): object => ({
    ...message,
    ...Object.fromEntries(Object.entries(fields).filter(([name]) => name in message)),
  });
  const serialize = method.requestSerialize as (message: object) => Buffer;
  if (method.path !== DestAgentService.standBy.path) return serialize(filled(emptyOf(method)));
  const value = filled(DestAgentService.finish.requestDeserialize(Buffer.alloc(0)));
  return serialize({ request: { $case: 'finish', value } });
}

describe.each(methods)('$path', ({ side, path, method }) => {
  const isAdmins = permissions[path]?.includes('admin') === true;
  const denied = async (fields: object): Promise<boolean> =>
    (await codeOf(clients[side], path, requestOf(method, fields))) === status.PERMISSION_DENIED;

  it('is refused for another domain: by name, by UUID, by its document, by its migration', async () => {
    const asked = [
      { migrationId: randomUUID(), domain: theirs.name, domainXml: theirs.xml },
      { migrationId: randomUUID(), domain: theirs.uuid, domainXml: theirs.xml.replace('db-1', 'web-2') },
      // Its own domain, and another's migration.
      { migrationId, domain: 'migrationId' in emptyOf(method) ? ours.name : theirs.name, domainXml: theirs.xml },
      { migrationId: randomUUID(), domain: randomUUID(), domainXml: theirs.xml },
    ];
    for (const fields of asked) expect([fields, await denied(fields)]).toEqual([fields, path !== list]);
  });

  it('is not refused for one of its own', async () => {
    const none = world.describe({ name: 'web-none' });
    const missing = none.xml.replace(
      '</devices>',
      "<disk type='file'><source file='/none'/><target dev='vdz'/></disk></devices>",
    );
    const fields = { migrationId: randomUUID(), domain: none.name, domainXml: missing };
    expect(await denied(fields)).toBe(!isAdmins || path === forgetHost);
  });
});

it('a list has its domains alone, and a migration of its own goes from the first call to the last', async () => {
  const listed = await invoke(clients.source, DomainsService.list, {}, patience());
  expect(listed.domains.map(({ name }) => name)).toEqual(['web-1']);
  expect(await callsOf(world.a).list()).toHaveLength(2);
  const names = { migrationId: randomUUID(), domain: ours.uuid, protocol: Protocol.PROTOCOL_V3 } as const;
  const { source, dest } = clients;
  const begun = await invoke(source, SourceAgentService.begin, { ...names, options: undefined }, patience());
  const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '', paused: false };
  const toPrepare = { migrationId: names.migrationId, protocol: names.protocol, ...place };
  const prepared = await invoke(dest, DestAgentService.prepare, toPrepare, patience());
  const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
  const performed = await invoke(source, SourceAgentService.perform, { ...names, ...way }, patience());
  const toFinish = { ...names, cookieIn: performed.cookieOut, cancelled: false };
  const finished = await invoke(dest, DestAgentService.finish, toFinish, patience());
  const toConfirm = { ...names, cookieIn: finished.cookieOut, cancelled: false };
  const { outcome } = await invoke(source, SourceAgentService.confirm, toConfirm, patience());
  expect(outcome).toBe(Outcome.OUTCOME_COMPLETED);
  await world.expectSettled(ours, world.b);
  // It has left: it is theirs by the ownership record, and by the migration’s own.
  const { migration } = await invoke(source, SourceAgentService.getMigration, names, patience());
  expect(migration?.domainUuid).toBe(ours.uuid);
  const owners = await invoke(source, DomainsService.where, { domain: ours.uuid }, patience());
  expect(owners.owners).toMatchObject([{ host: 'b' }]);
});

it('a document for the destination with another name is refused where the migration begins', async () => {
  const guest = await world.boot(world.a, { name: 'web-3' });
  const xml = (await callsOf(world.a).getDomain(guest.uuid)).domainXml.replace('web-3', 'db-3');
  const asked = { migrationId: randomUUID(), domain: guest.uuid, options: undefined, domainXml: xml };
  expect(await refusal(invoke(clients.source, SourceAgentService.begin, asked, patience()))).toMatchObject({
    reason: 'not-allowed',
    message: expect.stringContaining('web-*'),
  });
  expect(endOf(await world.migrate(guest)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
});
