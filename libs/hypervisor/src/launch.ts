/** Starts a QEMU, detached from the agent, its CPUs stopped. */
import {
  type Domain,
  type Networks,
  pinningOf,
  qemuArguments,
  spiceHost,
  type StartCommand,
  startCommands,
  tapsToPlugIn,
} from '@ferry/domain-xml';
import { Monitor } from '@ferry/qemu-qmp';
import type { QemuBinary } from './binary.ts';
import type { DomainDirectory, DomainPaths } from './domain-directory.ts';
import { capabilitiesOf, confine, type QemuUser } from './confinement.ts';
import { guestEnvironment } from './environment.ts';
import { HypervisorError } from './errors.ts';
import { machineProblem } from './host-checks.ts';
import { onCpus, placeThreads } from './pinning.ts';
import { freePort } from './ports.ts';
import { plugIn } from './taps.ts';
import { startTpm } from './tpm.ts';
import { send, type ProcessIdentity } from './qemu-process.ts';
import type { Spawner } from './spawner.ts';

export interface Launch {
  readonly spawner: Pick<Spawner, 'spawn'>;
  readonly binary: QemuBinary;
  readonly directory: DomainDirectory;
  readonly domain: Domain;
  readonly networks: Networks;
  readonly side: 'source' | 'dest';
  readonly incoming: boolean;
  /** Whom QEMU runs as, if not as the agent's own user. */
  readonly user: QemuUser | undefined;
}

export interface Launched {
  readonly process: ProcessIdentity;
  readonly monitor: Monitor;
}

/** How long QEMU may take until its monitor answers: it has allocated the guest's memory by then, which takes seconds with huge pages. */
const startMs = 60_000;

/** Where libvirt looks for a display's port (qemu.conf: remote_display_port_min). */
const spicePorts = { first: 5900, last: 65535 };

const sandbox = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/**
 * The whole command line. `-S` always: QEMU must never start CPUs by itself, neither at start nor when an incoming guest has been
 * loaded (qmp_cont, process_incoming_migration_bh). A monitor for each agent, so that one's restart does not disturb the other.
 */
function commandLine(order: Launch, paths: DomainPaths, spicePort: number | undefined): string[] {
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
    ...qemuArguments(order.domain, paths.run, spicePort),
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

function tell(monitor: Monitor, command: StartCommand, signal: AbortSignal): Promise<unknown> {
  switch (command.execute) {
    case 'balloon':
      return monitor.execute(command.execute, command.arguments, signal);
    case 'set_link':
      return monitor.execute(command.execute, command.arguments, signal);
    case 'set_password':
      return monitor.execute(command.execute, command.arguments, signal);
    case 'expire_password':
      return monitor.execute(command.execute, command.arguments, signal);
    default:
      return command satisfies never;
  }
}

/** Starts QEMU and waits until its monitor answers. On any failure the process is gone. Throws HypervisorError. */
export async function launch(order: Launch, signal: AbortSignal): Promise<Launched> {
  const { binary, directory, domain, side, user } = order;
  const lacking = machineProblem(domain, binary);
  if (lacking !== undefined) throw lacking;
  const paths = directory.paths(domain.uuid);
  signal.throwIfAborted();
  const host = spiceHost(domain);
  const spicePort = host === undefined ? undefined : await freePort(host, spicePorts, signal);
  const pinning = pinningOf(domain);
  await using otherwise = new AsyncDisposableStack();
  otherwise.defer(await startTpm(domain, paths, { user, confined: binary.confined }, signal));
  const onItsCpus = onCpus(binary.path, commandLine(order, paths, spicePort), pinning.emulator);
  const confinement = { user, confined: binary.confined };
  const [program, args] = confine(...onItsCpus, capabilitiesOf(domain, user), confinement);
  const gone = new AbortController();
  const spawned = { program, args, env: guestEnvironment(), log: paths.log };
  let process: ProcessIdentity | undefined;
  try {
    process = await order.spawner.spawn(spawned, (how) => gone.abort(new Error(how)));
    if (process !== undefined) await directory.recordProcess(domain.uuid, process);
    const patience = AbortSignal.timeout(startMs);
    const monitor = await Monitor.connect(paths.monitor(side), AbortSignal.any([signal, gone.signal, patience]));
    if (process !== undefined) {
      await using starting = new AsyncDisposableStack();
      starting.use(monitor);
      await placeThreads(process.pid, pinning, domain.name);
      await plugIn(tapsToPlugIn(domain, paths.run, order.networks), domain.name);
      for (const command of startCommands(domain, order.incoming)) await tell(monitor, command, signal);
      starting.move();
      otherwise.move();
      return { process, monitor };
    }
    await monitor[Symbol.asyncDispose]();
    throw new Error('ended while starting');
  } catch (error) {
    // It may have been started although nobody could tell.
    process ??= await directory.qemuByPidFile(domain.uuid).catch(() => undefined);
    if (process !== undefined) await send(process, 'SIGKILL');
    if (gone.signal.aborted)
      throw await startFailure(order, String(gone.signal.reason?.message ?? gone.signal.reason), error);
    signal.throwIfAborted();
    if (error instanceof HypervisorError) throw error;
    throw await startFailure(
      order,
      `did not answer on its monitor (${error instanceof Error ? error.message : String(error)})`,
      error,
    );
  }
}
