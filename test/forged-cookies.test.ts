/** A caller who drives a migration phase by phase carries its cookies, and may write others. */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Cookie, CookieEnvelope } from '@ferry/proto/ferry/v1/cookie';
import { Outcome, Phase, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, refusal, type TestGuest, World } from './world.ts';

let world: World;
let stranger: Server;
let connections = 0;
beforeAll(async () => {
  world = await World.start();
  stranger = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => {
    stranger.listen(0, '127.0.0.1', resolve);
  });
});
afterAll(async () => {
  stranger.close();
  await world[Symbol.asyncDispose]();
});

/** That cookie with other words, whole, and with the proof that it had. */
function altered(bytes: Uint8Array, words: Partial<Cookie>): Buffer {
  const envelope = CookieEnvelope.decode(bytes);
  const content = Buffer.from(Cookie.encode({ ...Cookie.decode(envelope.content), ...words }).finish());
  const digest = createHash('sha256').update(content).update(envelope.proof).digest().subarray(0, 16);
  return Buffer.from(CookieEnvelope.encode({ ...envelope, content, digest }).finish());
}

/** The first two phases; `carry` is what the caller makes of Begin’s cookie. */
async function prepared(guest: TestGuest, carry = (cookie: Buffer): Buffer => cookie) {
  const names = { migrationId: randomUUID(), domain: guest.uuid, protocol: Protocol.PROTOCOL_V3 } as const;
  const begun = await callsOf(world.a).begin({ ...names, options: undefined });
  const place = { domainXml: begun.domainXml, cookieIn: carry(begun.cookieOut), migrationUri: '', paused: false };
  const toPrepare = { migrationId: names.migrationId, protocol: names.protocol, ...place };
  const { cookieOut, migrationUri } = await callsOf(world.b).prepare(toPrepare);
  const way = { cookieIn: cookieOut, migrationUri, options: undefined };
  return { names, way };
}

const isForged = { reason: 'cookie-forged' };

/** What was refused has changed nothing: the guest goes on where it is, and can be moved. */
async function goesOn(guest: TestGuest): Promise<void> {
  await world.expectSettled(guest, world.a);
  const { names, way } = await prepared(guest);
  const { cookieOut } = await callsOf(world.a).perform({ ...names, ...way });
  const finished = await callsOf(world.b).finish({ ...names, cookieIn: cookieOut, cancelled: false });
  const { outcome } = await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
  expect(outcome).toBe(Outcome.OUTCOME_COMPLETED);
  await world.expectSettled(guest, world.b);
}

async function giveUp(names: { migrationId: string; domain: string }): Promise<void> {
  await callsOf(world.a).confirm({ ...names, cookieIn: Buffer.alloc(0), cancelled: true });
  const finish = { ...names, protocol: Protocol.PROTOCOL_V3, cookieIn: Buffer.alloc(0), cancelled: true };
  await callsOf(world.b).finish(finish);
}

it('memory does not flow to an address that the caller has written into Prepare’s cookie', async () => {
  const guest = await world.boot(world.a);
  const { names, way } = await prepared(guest);
  const address = stranger.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  const migrationUri = `tcp:127.0.0.1:${address.port}`;
  const cookieIn = altered(way.cookieIn, { migrationUri });
  expect(await refusal(callsOf(world.a).perform({ ...names, ...way, cookieIn, migrationUri }))).toMatchObject(isForged);
  expect(connections).toBe(0);
  await giveUp(names);
  await goesOn(guest);
});

it('an agent that the caller has named in Prepare’s cookie is not taken for the destination', async () => {
  const guest = await world.boot(world.a);
  const { names, way } = await prepared(guest);
  // Its own destination agent knows nothing of the migration.
  const cookieIn = altered(way.cookieIn, { agentAddress: world.a.destAddress });
  const perform = callsOf(world.a).perform({ ...names, ...way, cookieIn });
  expect(await refusal(perform)).toMatchObject({ reason: 'migration-failed' });
  await giveUp(names);
  await goesOn(guest);
});

it('a place that was made by another cookie than Begin’s is not used', async () => {
  const guest = await world.boot(world.a);
  const { names, way } = await prepared(guest, (cookie) => altered(cookie, { domainXml: '', missingCpuFeatures: [] }));
  expect(await refusal(callsOf(world.a).perform({ ...names, ...way }))).toMatchObject(isForged);
  await giveUp(names);
  await goesOn(guest);
});

it('a source’s vote that the caller has written is none', async () => {
  const guest = await world.boot(world.a);
  const { names, way } = await prepared(guest);
  const { cookieOut } = await callsOf(world.a).perform({ ...names, ...way });
  const cookieIn = altered(cookieOut, { vote: { incarnation: 'another:life' } });
  expect(await refusal(callsOf(world.b).finish({ ...names, cookieIn, cancelled: false }))).toMatchObject(isForged);
  await giveUp(names);
  await goesOn(guest);
});

it('the source’s copy does not end by a word of the destination’s that the caller has written', async () => {
  const guest = await world.boot(world.a);
  const { names, way } = await prepared(guest);
  const { cookieOut } = await callsOf(world.a).perform({ ...names, ...way });
  const { content } = CookieEnvelope.decode(way.cookieIn);
  const cookieIn = altered(cookieOut, { ...Cookie.decode(content), phase: Phase.PHASE_FINISH3 });
  expect(await refusal(callsOf(world.a).confirm({ ...names, cookieIn, cancelled: false }))).toMatchObject(isForged);
  await giveUp(names);
  await goesOn(guest);
});
