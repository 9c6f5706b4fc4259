/** Destination, v3 phase 2 of 5 and v2 phase 2 of 4: starts a QEMU that waits for the guest, its CPUs stopped. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { beginHandover, notedOf, requestDigest, currentCaller, refuseForeignAgent } from '@ferry/agent';
import {
  capabilitiesToSet,
  decodeCookie,
  encodeCookie,
  encryptionAsked,
  type MemoryEncryption,
  parseMigrationUri,
} from '@ferry/migration';
import type { Domain } from '@ferry/domain-xml';
import type { Guest } from '@ferry/hypervisor';
import type { PrepareRequest, PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { MemoryTls, Protocol } from '@ferry/proto/ferry/v1/migration';
import { admit } from './admit.ts';
import { journal, originOf, type DestAgent, type HeldIn, newState, optionsOf } from './agent.ts';
import { Incoming } from './incoming.ts';
import { listen, mayListen } from './listen.ts';
import { prepareCodec } from './memory-key.ts';
import { watchDeath } from './recover.ts';
import type { Relay } from './relay.ts';
import { Replacement } from './replacement.ts';
import { refuseStranded } from './stranded.ts';

/** What is noted of a guest that nobody has owned: every record is newer. */
const nobody = { epoch: 0, sinceMs: 0 };

export async function prepare(
  agent: DestAgent,
  request: PrepareRequest,
  signal: AbortSignal,
): Promise<PrepareResponse> {
  const { migrationId } = request;
  const domain = await agent.hypervisor.readGiven(request.domainXml, signal);
  const protocol = request.protocol === Protocol.PROTOCOL_V2 ? 2 : 3;
  const hostUuid = agent.config.host.uuid;
  const expected = { from: 'begin3', migrationId, domainUuid: domain.uuid, hostUuid } as const;
  const cookie = protocol === 3 ? decodeCookie(request.cookieIn, expected) : undefined;
  const start = { migrationId, domainUuid: domain.uuid, domainName: domain.name, side: 'dest', protocol } as const;

  const asker = currentCaller();
  refuseForeignAgent(asker, cookie?.hostName ?? '', migrationId);

  const make = async (callSignal: AbortSignal) => {
    encryptionOf(agent, request, cookie?.run);
    await Promise.all([
      mayListen(agent, request.migrationUri),
      refuseStranded(agent, domain.name, cookie?.agentAddress, callSignal),
    ]);
    await admit(agent, domain, request.domainXml, cookie, callSignal);
    const [incarnation, owner] = await Promise.all([
      agent.register.incarnation(callSignal),
      agent.owners.of(domain.uuid, callSignal),
    ]);
    const paused = request.paused || cookie?.paused === true;
    // Made by who makes the record: in version 3 the source has.
    const run = protocol === 3 ? (cookie?.run ?? '') : randomUUID();
    const state = newState(protocol, incarnation, paused, false, run);
    state.owner = owner === undefined ? nobody : notedOf(owner);
    // Version 2 has no cookie to say it.
    state.peerHost = cookie?.hostName ?? asker?.host ?? '';
    state.sourceAddress = cookie?.agentAddress ?? '';
    return { options: optionsOf(domain.name, state), state };
  };
  const body = async (held: HeldIn, phaseSignal: AbortSignal): Promise<PrepareResponse> => {
    const { state, ongoing } = held;
    ongoing.peer = cookie?.hostName ?? '';
    const { guest, capabilities } = await launch(agent, held, domain, phaseSignal);
    const encryption = encryptionOf(agent, request, cookie?.run);
    await agent.hypervisor.expectEncrypted(guest, encryption, phaseSignal);
    const [{ uri, release }] = await Promise.all([
      listen(agent, guest.monitor, request.migrationUri, phaseSignal),
      beginHandover(agent.register, held, phaseSignal),
    ]);
    state.releasePort = release;
    expectStream(agent, held, guest);
    const blocked = replacementFor(agent, held, { domain, encryption, uri });
    state.replacement = blocked && new Replacement(blocked);
    // From here on Finish may commit; that it may is durable before the guest is stopped.
    await journal(agent, held);
    watchDeath(agent, held);
    const cookieOut =
      protocol === 3
        ? encodeCookie(
            'prepare',
            originOf(agent, held),
            { ...saidOf(encryption), capabilities, migrationUri: uri },
            Date.now(),
          )
        : [];
    return { migrationUri: uri, cookieOut: Buffer.from(cookieOut) };
  };
  const { domainXml, migrationUri, paused: isPaused, memoryTls } = request;
  const asked = requestDigest({ protocol, domainXml, migrationUri, isPaused, memoryTls });
  const codec = prepareCodec(agent.memoryKeys);
  return agent.migrations.open(start, make, { phase: 'prepare', request: asked, codec, body }, signal);
}

/** A QEMU that waits for the guest, with our capabilities; gives those that it offers. */
async function launch(
  agent: DestAgent,
  { state, ongoing }: HeldIn,
  domain: Domain,
  signal: AbortSignal,
): Promise<{ guest: Guest; capabilities: string[] }> {
  const guest = await agent.hypervisor.create(domain, ongoing.start.migrationId, signal);
  state.guest = guest;
  const offered = await guest.monitor.execute('query-migrate-capabilities', {}, signal);
  const capabilities = capabilitiesToSet('dest', offered);
  await guest.monitor.execute('migrate-set-capabilities', { capabilities }, signal);
  return { guest, capabilities: offered.map((c) => c.capability) };
}

/** Subscribed before anything can arrive. */
function expectStream(agent: DestAgent, { state, ongoing }: HeldIn, { monitor, uuid }: Guest): void {
  // Finish may come over a connection that is made now.
  const standsStill = (): void => {
    if (!state.paused) agent.gate.close(ongoing.start.migrationId, 'calls');
  };
  state.incoming = new Incoming(monitor, () => agent.hypervisor.logTail(uuid), standsStill);
}

/**
 * How a QEMU that a silent connection blocks is replaced: the new one listens on a UNIX socket, and a relay of this agent's at the same address as before
 * passes on what has the migration's key. Undefined where there is no such key.
 */
function replacementFor(
  agent: DestAgent,
  held: HeldIn,
  { domain, encryption, uri }: { readonly domain: Domain; readonly encryption: MemoryEncryption; readonly uri: string },
): ((signal: AbortSignal) => Promise<void>) | undefined {
  const { openRelay, config, log, hypervisor } = agent;
  const at = parseMigrationUri(uri);
  if (openRelay === undefined || encryption.kind !== 'key' || at.kind !== 'tcp' || at.port === undefined)
    return undefined;
  const { host, port } = at;
  const { key } = encryption;
  return async (signal) => {
    const { state, ongoing } = held;
    const { migrationId, domainUuid } = ongoing.start;
    const { guest: blocked, incoming } = state;
    if (blocked === undefined || incoming === undefined) return;
    log.warn(
      { migrationId, domain: domainUuid, port },
      'a connection that says nothing blocks the waiting QEMU: it is started again behind a relay',
    );
    state.incoming = undefined;
    incoming[Symbol.dispose]();
    await hypervisor.end(blocked, 'kill');
    state.guest = undefined;
    const { guest } = await launch(agent, held, domain, signal);
    const path = join(config.migration.sockets, randomUUID());
    const { release } = await listen(agent, guest.monitor, `unix:${path}`, signal);
    const { releasePort } = state;
    let relay: Relay | undefined;
    state.releasePort = () => {
      relay?.close();
      release();
      releasePort();
    };
    expectStream(agent, held, guest);
    watchDeath(agent, held);
    relay = await openRelay({ host, port, path, key }, signal);
  };
}

/** Throws MigrationError memory-not-encrypted, invalid-uri. */
function encryptionOf(
  agent: DestAgent,
  { migrationId, migrationUri, memoryTls }: PrepareRequest,
  run: string | undefined,
): MemoryEncryption {
  const key = run === undefined ? undefined : agent.memoryKeys.of({ migrationId, run });
  const { kind } = migrationUri === '' ? { kind: 'tcp' as const } : parseMigrationUri(migrationUri);
  return encryptionAsked(memoryTls, agent.config, { kind }, key);
}

/** What the source must know of it. One that does not know the feature refuses the cookie by name. */
function saidOf(encryption: MemoryEncryption) {
  if (encryption.kind === 'none') return { memoryTls: MemoryTls.MEMORY_TLS_NONE };
  const mandatoryFeatures = ['memory-tls'];
  return encryption.kind === 'key'
    ? { memoryKey: encryption.key, mandatoryFeatures }
    : { memoryTls: MemoryTls.MEMORY_TLS_X509, mandatoryFeatures };
}
