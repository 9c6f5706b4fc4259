/** A destination that cannot be reached is found before memory flows, not by a switchover that waits for it. */
import { reachProblem } from '@ferry/agent';
import { MigrationError, type MigrationUri } from '@ferry/migration';
import { parseHostPort } from '@ferry/rpc';
import type { HeldOut, SourceAgent } from './agent.ts';

/** Throws MigrationError destination-unreachable: the name of its agent, or of where its QEMU waits, does not lead there from here. */
export async function refuseUnreachable(
  { config, lookUp }: SourceAgent,
  { ongoing, state }: HeldOut,
  uri: MigrationUri,
  signal: AbortSignal,
): Promise<void> {
  const places = [
    { what: 'its agent', host: parseHostPort(state.destinationAddress)?.host, set: 'FERRY_ADDRESS' },
    { what: 'its QEMU', host: uri.kind === 'tcp' ? uri.host : undefined, set: 'FERRY_MIGRATION_ADDRESS' },
  ];
  const refuse = async ({ what, host, set }: (typeof places)[number]): Promise<void> => {
    const problem = host === undefined ? undefined : await reachProblem(lookUp, host, config.address, signal);
    if (problem === undefined) return;
    const message = `host ${config.host.name} cannot send ${ongoing.start.domainName} to its destination, ${what} being at ${host}: ${problem}`;
    throw new MigrationError('destination-unreachable', `${message}; set ${set} there`);
  };
  await Promise.all(places.map(refuse));
}
