/** One guest's monitor before the host is asked for anything else: for an agent that has only just started. */
import { Monitor } from '@ferry/qemu-qmp';
import { DomainDirectory } from './domain-directory.ts';
import { isAlive } from './qemu-process.ts';

/**
 * A side's monitor to the QEMU of a domain that belongs here; undefined if it has none, does not run, or waits for a guest that comes in. The caller
 * disposes of it, since QEMU serves one client. Throws QmpError, or the signal's reason.
 */
export async function guestMonitor(
  { stateDir, side }: { readonly stateDir: string; readonly side: 'source' | 'dest' },
  uuid: string,
  signal: AbortSignal,
): Promise<Monitor | undefined> {
  const directory = new DomainDirectory(stateDir);
  const definition = directory.definition(uuid);
  const process = directory.process(uuid);
  if (definition === undefined || definition.incoming !== undefined || process === undefined) return undefined;
  if (!(await isAlive(process))) return undefined;
  return Monitor.connect(definition.adoptedMonitor ?? directory.paths(uuid).monitor(side), signal);
}
