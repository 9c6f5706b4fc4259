/** Has a QEMU wait for its guest at an address of this host. */
import { HypervisorError } from '@ferry/hypervisor';
import { formatMigrationUri, parseMigrationUri, type MigrationUri } from '@ferry/migration';
import { QmpError, type Monitor } from '@ferry/qemu-qmp';
import type { DestAgent } from './agent.ts';

/** What QEMU says of a bind(2) that failed because of somebody else (util/qemu-sockets.c). */
const inUse = /address already in use/i;

async function tryListening(monitor: Monitor, uri: string, signal: AbortSignal): Promise<boolean> {
  try {
    await monitor.execute('migrate-incoming', { uri }, signal);
    return true;
  } catch (error) {
    if (!(error instanceof QmpError) || error.kind !== 'qemu-refused') throw error;
    // A refused call leaves QEMU free to be told another address (qmp_migrate_incoming).
    if (inUse.test(error.message)) return false;
    throw new HypervisorError('address-unusable', `QEMU cannot wait for a guest at ${uri}: ${error.message}`, {
      cause: error,
    });
  }
}

/**
 * Follows libvirt's rule: without a URI, or one without a port, a port of the configured range is taken and told; one with a port, and a
 * UNIX socket, are used as they are. Throws HypervisorError ports-exhausted, address-unusable; MigrationError invalid-uri.
 */
export async function listen(
  agent: DestAgent,
  monitor: Monitor,
  wanted: string,
  signal: AbortSignal,
): Promise<{ uri: string; release: () => void }> {
  const asked: MigrationUri =
    wanted === '' ? { kind: 'tcp', host: agent.config.migration.address, port: undefined } : parseMigrationUri(wanted);
  if (asked.kind === 'tcp' && asked.port === undefined) {
    const at = (port: number): string => formatMigrationUri({ ...asked, port });
    const { port, release } = await agent.ports.take((candidate) => tryListening(monitor, at(candidate), signal));
    return { uri: at(port), release };
  }
  const uri = formatMigrationUri(asked);
  if (await tryListening(monitor, uri, signal)) return { uri, release: () => undefined };
  throw new HypervisorError(
    'address-unusable',
    `${uri} is in use on host ${agent.config.host.name}: choose another, or leave it to the agent`,
  );
}
