/** Destination, v3 phase 2 of 5 and v2 phase 2 of 4: starts a QEMU that waits for the guest, its CPUs stopped. */
import { randomUUID } from 'node:crypto';
import { beginHandover, logNotes, notedOf, requestDigest, currentCaller, refuseForeignAgent } from '@ferry/agent';
import { type Domain, withPasswordsOf } from '@ferry/domain-xml';
import {
  capabilitiesToSet,
  decodeCookie,
  encodeCookie,
  encryptionAsked,
  type MemoryEncryption,
  parseMigrationUri,
  sealOf,
} from '@ferry/migration';
import type { Cookie } from '@ferry/proto/ferry/v1/cookie';
import type { PrepareRequest, PrepareResponse } from '@ferry/proto/ferry/v1/dest_agent';
import { MemoryTls, Protocol } from '@ferry/proto/ferry/v1/migration';
import { admit } from './admit.ts';
import { journal, originOf, type DestAgent, type HeldIn, newState, optionsOf } from './agent.ts';
import { Incoming } from './incoming.ts';
import { listen, mayListen } from './listen.ts';
import { prepareCodec } from './prepare-codec.ts';
import { watchDeath } from './recover.ts';
import { refuseStranded } from './stranded.ts';
import { watchForStrangers } from './strangers.ts';

/** What is noted of a guest that nobody has owned: every record is newer. */
const nobody = { epoch: 0, sinceMs: 0 };

export async function prepare(
  agent: DestAgent,
  request: PrepareRequest,
  signal: AbortSignal,
): Promise<PrepareResponse> {
  const { migrationId } = request;
  const given = await agent.hypervisor.readGiven(request.domainXml, signal);
  const protocol = request.protocol === Protocol.PROTOCOL_V2 ? 2 : 3;
  const hostUuid = agent.config.host.uuid;
  const expected = { from: 'begin3', migrationId, domainUuid: given.uuid, hostUuid } as const;
  const cookie = protocol === 3 ? decodeCookie(request.cookieIn, expected) : undefined;
  const domain = await withPasswords(agent, given, cookie, signal);
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
    const guest = await agent.hypervisor.create(domain, migrationId, phaseSignal);
    state.guest = guest;
    logNotes(agent.log, domain, await agent.hypervisor.admission.notes(domain));
    const offered = await guest.monitor.execute('query-migrate-capabilities', {}, phaseSignal);
    const names = offered.map((c) => c.capability);
    const capabilities = capabilitiesToSet('dest', offered);
    await guest.monitor.execute('migrate-set-capabilities', { capabilities }, phaseSignal);
    const encryption = encryptionOf(agent, request, cookie?.run);
    await agent.hypervisor.expectEncrypted(guest, encryption, phaseSignal);
    const [{ uri, release }] = await Promise.all([
      listen(agent, guest.monitor, request.migrationUri, phaseSignal),
      beginHandover(agent.register, held, phaseSignal),
    ]);
    state.releasePort = release;
    // Finish may come over a connection that is made now.
    const standsStill = (): void => {
      if (!state.paused) agent.gate.close(migrationId, 'calls');
    };
    state.incoming = new Incoming(guest.monitor, () => agent.hypervisor.logTail(domain.uuid), standsStill);
    // From here on Finish may commit; that it may is durable before the guest is stopped.
    await journal(agent, held);
    watchDeath(agent, held);
    if (encryption.kind !== 'none') watchForStrangers(agent, held, uri);
    const cookieOut =
      protocol === 3
        ? encodeCookie(
            'prepare',
            originOf(agent, held),
            { ...saidOf(encryption), ...sealOf(request.cookieIn), capabilities: names, migrationUri: uri },
            Date.now(),
            agent.runKeys.cookies({ migrationId, run: state.run }),
          )
        : [];
    return { migrationUri: uri, cookieOut: Buffer.from(cookieOut) };
  };
  const { domainXml, migrationUri, paused: isPaused, memoryTls } = request;
  const asked = requestDigest({ protocol, domainXml, migrationUri, isPaused, memoryTls });
  const codec = prepareCodec(agent.runKeys);
  return agent.migrations.open(start, make, { phase: 'prepare', request: asked, codec, body }, signal);
}

/** The document that callers see has stars for the passwords of its displays; the cookie has them. */
async function withPasswords(
  agent: DestAgent,
  given: Domain,
  cookie: Cookie | undefined,
  signal: AbortSignal,
): Promise<Domain> {
  if (cookie?.mandatoryFeatures.includes('display-passwords') !== true) return given;
  return withPasswordsOf(given, await agent.hypervisor.admission.readForElsewhere(cookie.domainXml, signal));
}

/** Throws MigrationError memory-not-encrypted, invalid-uri. */
function encryptionOf(
  agent: DestAgent,
  { migrationId, migrationUri, memoryTls }: PrepareRequest,
  run: string | undefined,
): MemoryEncryption {
  const key = run === undefined ? undefined : agent.runKeys.memory({ migrationId, run });
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
