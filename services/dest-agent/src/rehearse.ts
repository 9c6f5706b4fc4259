/**
 * Runs what Finish runs, on a migration that does not exist. Code that runs for the first time is compiled and connected first: the first guest
 * to arrive would wait 15 ms for its CPUs instead of 3.
 */
import { randomUUID } from 'node:crypto';
import { decodeCookie, encodeCookie } from '@ferry/migration';
import { Protocol } from '@ferry/proto/ferry/v1/migration';
import type { DestAgent } from './agent.ts';
import { finish } from './finish.ts';

/** Often enough for the engine to have compiled what matters. */
const rounds = 40;

export async function rehearse(agent: DestAgent, signal: AbortSignal): Promise<void> {
  const [migrationId, domain] = [randomUUID(), randomUUID()];
  const origin = {
    migrationId,
    domainUuid: domain,
    domainName: 'rehearsal',
    hostName: 'nobody',
    hostUuid: randomUUID(),
    agentAddress: '',
    run: 'rehearsal',
  };
  const { run } = origin;
  const expected = {
    from: 'perform3',
    migrationId,
    domainUuid: domain,
    run,
    hostUuid: agent.config.host.uuid,
  } as const;
  const incarnation = await agent.register.incarnation(signal);
  for (let round = 0; round < rounds; round += 1) {
    const key = agent.runKeys.cookies(origin);
    const cookieIn = Buffer.from(encodeCookie('perform3', origin, { vote: { incarnation } }, Date.now(), key));
    decodeCookie(cookieIn, { ...expected, key });
    // Nobody knows this migration: both are refused, and nothing is written.
    await agent.register
      .commit({ domain, migrationId, incarnation, run, carried: { ran: true } }, signal)
      .catch(() => undefined);
    const request = { migrationId, domain, protocol: Protocol.PROTOCOL_V3, cookieIn, cancelled: false };
    await finish(agent, request, signal).catch(() => undefined);
  }
  signal.throwIfAborted();
}
