/** Has a QEMU wait for its guest at an address of this host. */
import { rm } from 'node:fs/promises';
import { HypervisorError, newSocketProblem } from '@ferry/hypervisor';
import { formatMigrationUri, listenProblem, parseMigrationUri, type MigrationUri } from '@ferry/migration';
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

/** Where the caller wants a guest to be received, if this host's configuration allows it. Throws HypervisorError address-unusable; MigrationError invalid-uri. */
export async function mayListen({ config }: DestAgent, wanted: string): Promise<MigrationUri> {
  const { migration } = config;
  if (wanted === '') return { kind: 'tcp', host: migration.address, port: undefined };
  const asked = parseMigrationUri(wanted);
  const problem =
    listenProblem(asked, migration) ??
    (asked.kind === 'unix' ? await newSocketProblem(asked.path, config.qemuUser) : undefined);
  if (problem === undefined) return asked;
  const message = `no guest is received at ${formatMigrationUri(asked)} on host ${config.host.name}: ${problem}; or leave the URI to the agent`;
  throw new HypervisorError('address-unusable', message);
}

/**
 * Follows libvirt's rule: without a URI, or one without a port, a port of the configured range is taken and told; one with a port, and a
 * UNIX socket, are used as they are. Throws HypervisorError ports-exhausted, address-unusable.
 */
export async function listen(
  agent: DestAgent,
  monitor: Monitor,
  wanted: string,
  signal: AbortSignal,
): Promise<{ uri: string; release: () => void }> {
  const asked = await mayListen(agent, wanted);
  if (asked.kind === 'tcp' && asked.port === undefined) {
    const at = (port: number): string => formatMigrationUri({ ...asked, port });
    const { port, release } = await agent.ports.take((candidate) => tryListening(monitor, at(candidate), signal));
    return { uri: at(port), release };
  }
  const uri = formatMigrationUri(asked);
  // A QEMU that is killed leaves its socket, and its name could not be used again.
  const release = (): void => {
    if (asked.kind === 'unix') rm(asked.path, { force: true }).catch(() => undefined);
  };
  if (await tryListening(monitor, uri, signal)) return { uri, release };
  throw new HypervisorError(
    'address-unusable',
    `${uri} is in use on host ${agent.config.host.name}: choose another, or leave it to the agent`,
  );
}
