/** Starts a QEMU, detached from the agent, its CPUs stopped. */
import { spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { qemuArguments, type Domain } from '@ferry/domain-xml';
import { Monitor } from '@ferry/qemu-qmp';
import type { QemuBinary } from './binary.ts';
import type { DomainDirectory, DomainPaths } from './domain-directory.ts';
import { HypervisorError } from './errors.ts';
import { identify, send, type ProcessIdentity } from './qemu-process.ts';

export interface Launch {
  readonly binary: QemuBinary;
  readonly directory: DomainDirectory;
  readonly domain: Domain;
  readonly side: 'source' | 'dest';
  readonly incoming: boolean;
}

export interface Launched {
  readonly process: ProcessIdentity;
  readonly monitor: Monitor;
}

/** How long QEMU may take until its monitor answers: it has allocated the guest's memory by then, which takes seconds with huge pages. */
const startMs = 60_000;

const sandbox = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/**
 * The whole command line. `-S` always: QEMU must never start CPUs by itself, neither at start nor when an incoming guest has been
 * loaded (qmp_cont, process_incoming_migration_bh). A monitor for each agent, so that one's restart does not disturb the other.
 */
function commandLine(order: Launch, paths: DomainPaths): string[] {
  const monitor = (side: 'source' | 'dest'): string[] => [
    '-chardev',
    `socket,id=ferry-${side},path=${paths.monitor(side)},server=on,wait=off`,
    '-mon',
    `chardev=ferry-${side},mode=control`,
  ];
  return [
    '-S',
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    ...(order.binary.sandbox ? ['-sandbox', sandbox] : []),
    '-pidfile',
    paths.pidFile,
    ...monitor('source'),
    ...monitor('dest'),
    ...(order.incoming ? ['-incoming', 'defer'] : []),
    ...qemuArguments(order.domain, paths.dir),
  ];
}

/** What QEMU's last words mean. */
async function startFailure(order: Launch, how: string, cause?: unknown): Promise<HypervisorError> {
  const words = await order.directory.logTail(order.domain.uuid);
  const { name, machine } = order.domain;
  if (/unsupported machine type/i.test(words)) {
    return new HypervisorError(
      'machine-unsupported',
      `this host's QEMU lacks the machine type ${machine} of domain ${name}: ${words}`,
    );
  }
  return new HypervisorError(
    'qemu-start-failed',
    `${order.binary.path} for domain ${name} ${how}${words === '' ? '' : `: ${words}`}`,
    cause === undefined ? undefined : { cause },
  );
}

/** Starts QEMU and waits until its monitor answers. On any failure the process is gone. Throws HypervisorError. */
export async function launch(order: Launch, signal: AbortSignal): Promise<Launched> {
  const { binary, directory, domain, side } = order;
  if (!binary.machines.has(domain.machine)) {
    throw new HypervisorError(
      'machine-unsupported',
      `this host's QEMU lacks the machine type ${domain.machine} of domain ${domain.name}: use a QEMU that has it, or an older machine type`,
    );
  }
  const paths = directory.paths(domain.uuid);
  await using log = await open(paths.log, 'a', 0o600);
  signal.throwIfAborted();
  const child = spawn(binary.path, commandLine(order, paths), {
    detached: true,
    cwd: '/',
    stdio: ['ignore', log.fd, log.fd],
  });
  child.unref();

  const gone = new AbortController();
  child.once('error', (error) => gone.abort(error));
  child.once('exit', (code, by) => gone.abort(new Error(`ended with ${by === null ? `status ${code}` : by}`)));
  try {
    const process = child.pid === undefined ? undefined : await identify(child.pid);
    if (process !== undefined) await directory.recordProcess(domain.uuid, process);
    const patience = AbortSignal.timeout(startMs);
    const monitor = await Monitor.connect(paths.monitor(side), AbortSignal.any([signal, gone.signal, patience]));
    if (process !== undefined) return { process, monitor };
    await monitor[Symbol.asyncDispose]();
    throw new Error('ended while starting');
  } catch (error) {
    const process = child.pid === undefined ? undefined : await identify(child.pid);
    if (process !== undefined) await send(process, 'SIGKILL');
    if (gone.signal.aborted)
      throw await startFailure(order, String(gone.signal.reason?.message ?? gone.signal.reason), error);
    signal.throwIfAborted();
    throw await startFailure(
      order,
      `did not answer on its monitor (${error instanceof Error ? error.message : String(error)})`,
      error,
    );
  }
}
