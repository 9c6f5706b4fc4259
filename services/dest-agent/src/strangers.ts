/** Whoever connects to a migration port before the source, and says nothing, is shut out: the waiting QEMU would hear nobody else. */
import { labelsOf } from '@ferry/agent';
import { parseMigrationUri } from '@ferry/migration';
import { unsampled } from '@ferry/jobs';
import type { DestAgent, HeldIn } from './agent.ts';

/** Until memory comes. A source that waits behind a stranger stands still as well, and with it its guest: half of what it bears. */
export function watchForStrangers(agent: DestAgent, held: HeldIn, uri: string): void {
  const { guest, incoming } = held.state;
  const parsed = parseMigrationUri(uri);
  if (guest === undefined || incoming === undefined || parsed.kind !== 'tcp' || parsed.port === undefined) return;
  const labels = labelsOf(held);
  const limitMs = agent.config.stallMs / 2;
  const ended = (peer: string): void =>
    agent.log.warn({ ...labels, peer }, 'a connection to the migration port was ended: no TLS handshake came on it');
  const where = { at: 'here', host: parsed.host, port: parsed.port } as const;
  unsampled(() => agent.hypervisor.watchHandshakes(guest, where, limitMs, ended, incoming.begun)).catch(
    (error: unknown) => agent.log.error({ err: error, ...labels }, 'a silent connection cannot be ended'),
  );
}
