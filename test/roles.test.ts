/** Every method of both agents, called with certificates of each role, of none, and without one. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Client, status } from '@grpc/grpc-js';
import { dial, invoke, openCredentials, permissions } from '@ferry/agent';
import { DestAgentService, DestPeerService } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsService } from '@ferry/proto/ferry/v1/domains';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { codeOf, methods } from './every-method.ts';
import { callsOf, endOf, eventually, patience, refusal, World } from './world.ts';

const none = Buffer.alloc(0);
/** What nobody but an administrator may do, and what only agents ask each other: written down here once more. */
const rare: Readonly<Record<string, string>> = {
  '/ferry.v1.SourceAgent/ResolveMigration': 'admin',
  '/ferry.v1.DestAgent/ResolveMigration': 'admin',
  '/ferry.v1.Domains/Destroy': 'admin',
  '/ferry.v1.Domains/Adopt': 'admin',
  '/ferry.v1.Domains/Forget': 'admin',
  '/ferry.v1.Domains/ForgetHost': 'admin',
  '/ferry.v1.SourcePeer/Ask': 'agent',
  '/ferry.v1.DestPeer/Ask': 'agent',
  '/ferry.v1.DestPeer/CheckReady': 'agent',
};

const roleNames = ['nothing', 'viewer', 'operator', 'controller', 'admin', 'agent/c'] as const;

let world: World;
const clients = new Map<string, Client>();

beforeAll(async () => {
  world = await World.start();
  for (const role of roleNames) {
    const credentials = await openCredentials(await world.lab.issue(`one-${role.replace('/', '-')}`, role));
    clients.set(`${role} source`, dial(world.a.sourceAddress, credentials));
    clients.set(`${role} dest`, dial(world.a.destAddress, credentials));
  }
});
afterAll(async () => {
  for (const client of clients.values()) client.close();
  await world[Symbol.asyncDispose]();
});

const clientOf = (role: string, side: string): Client => {
  const client = clients.get(`${role} ${side}`);
  if (client === undefined) throw new Error(`no client for ${role}`);
  return client;
};

it('every method has a row, and every row is a method’s', () => {
  const ours = Object.keys(permissions).filter((path) => path.startsWith('/ferry.'));
  expect(new Set(ours)).toEqual(new Set(methods.map(({ path }) => path)));
  for (const [path, role] of Object.entries(rare)) expect([path, permissions[path]]).toEqual([path, [role]]);
});

describe.each(roleNames)('a certificate with the role %s', (role) => {
  const own = role.split('/')[0] ?? '';

  it.each(methods)('$path', async ({ side, path }) => {
    const allowed = (permissions[path] ?? []).some((each) => each === own);
    const code = await codeOf(clientOf(role, side), path, none);
    expect([path, code === status.PERMISSION_DENIED]).toEqual([path, !allowed]);
  });

  it('may ask for health', async () => {
    const code = await codeOf(clientOf(role, 'source'), '/grpc.health.v1.Health/Check', none);
    expect(code === status.PERMISSION_DENIED).toBe(role === 'nothing');
  });
});

it('bytes that are no message are an invalid request, also in the audit trail, which names who, what and how it ended', async () => {
  expect(await codeOf(clientOf('viewer', 'source'), DomainsService.get.path, Buffer.from('ff', 'hex'))).toBe(
    status.INVALID_ARGUMENT,
  );
  expect(await codeOf(clientOf('viewer', 'source'), DomainsService.destroy.path, none)).toBe(status.PERMISSION_DENIED);
  const lines = (): Record<string, unknown>[] =>
    readFileSync(join(world.lab.dir, 'a-source.audit'), 'utf8')
      .split('\n')
      .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Record<string, unknown>]));
  const viewer = { who: expect.stringMatching(/^spiffe:.*\/ferry\/viewer$/), roles: ['viewer'], log: 'audit' };
  const known = {
    ...viewer,
    fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}/),
    address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
  };
  await eventually('both are written', () => lines().some(({ reason }) => reason === 'not-allowed'));
  expect(lines()).toEqual(
    expect.arrayContaining([
      expect.objectContaining({
        ...known,
        method: DomainsService.get.path,
        code: 'INVALID_ARGUMENT',
        reason: 'invalid-request',
      }),
      expect.objectContaining({
        ...known,
        method: DomainsService.destroy.path,
        code: 'PERMISSION_DENIED',
        reason: 'not-allowed',
      }),
    ]),
  );
});

describe('the agent of a third host', () => {
  it('has no say in a migration in which its host takes no part, and the migration goes on', async () => {
    const guest = await world.boot(world.a);
    const names = { migrationId: randomUUID(), domain: guest.uuid, protocol: Protocol.PROTOCOL_V3 } as const;
    const begun = await callsOf(world.a).begin({ ...names, options: undefined });
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '', paused: false };
    const toPrepare = { migrationId: names.migrationId, protocol: names.protocol, ...place };
    const credentials = await openCredentials(await world.lab.issue('third', 'agent/c'));
    await using b = Object.assign(dial(world.b.destAddress, credentials), {
      async [Symbol.asyncDispose]() {
        b.close();
      },
    });
    expect(await refusal(invoke(b, DestAgentService.prepare, toPrepare, patience()))).toMatchObject({
      reason: 'not-allowed',
      message: expect.stringContaining('host c'),
    });
    const prepared = await callsOf(world.b).prepare(toPrepare);
    const ask = { ...names, incarnation: 'x', askerAddress: 'c:1', run: '' };
    const check = { ...ask, streamOnly: false, askerHost: 'a' };
    for (const call of [
      () => invoke(b, DestPeerService.ask, ask, patience()),
      () => invoke(b, DestPeerService.checkReady, check, patience()),
      () => invoke(b, DestAgentService.abortMigration, names, patience()),
      () => invoke(b, DestAgentService.finish, { ...names, cookieIn: none, cancelled: true }, patience()),
    ])
      expect(await refusal(call())).toMatchObject({ reason: 'not-allowed' });
    const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
    const performed = await callsOf(world.a).perform({ ...names, ...way });
    const finished = await callsOf(world.b).finish({ ...names, cookieIn: performed.cookieOut, cancelled: false });
    await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    await world.expectSettled(guest, world.b);
  });
});

it('a migration’s history says who asked for it, on either side', async () => {
  const guest = await world.boot(world.a);
  expect(endOf(await world.migrate(guest)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
  const requesters = (await callsOf(world.a).history(guest.uuid)).map(({ host, requester }) => [host, requester]);
  expect(requesters.toSorted(([x = ''], [y = '']) => (x < y ? -1 : 1))).toEqual([
    ['a', 'spiffe://ferry.lab/client/ferry/admin'],
    ['b', 'spiffe://ferry.lab/a/ferry/agent/a'],
  ]);
});
