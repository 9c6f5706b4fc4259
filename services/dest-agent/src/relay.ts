/**
 * A listener of the agent's own before a QEMU that waits. QEMU 7.2 does a TLS handshake on a blocking socket, in its main loop: a connection that says
 * nothing holds it. Here a silent connection holds nobody, and only one that has the migration's key reaches QEMU.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { HypervisorError } from '@ferry/hypervisor';
import type { RelayOrder, RelayWord } from './relay-worker.ts';

export interface Relay {
  /** Closes its connections, too. */
  close(): void;
}

/** Throws HypervisorError address-unusable; the signal's reason. */
export async function openRelay(order: RelayOrder, signal: AbortSignal): Promise<Relay> {
  const worker = new Worker(new URL('./relay-worker.ts', import.meta.url), {
    execArgv: [],
    env: {},
    workerData: order,
  });
  worker.unref();
  const close = (): void => void worker.terminate();
  try {
    const [word] = (await once(worker, 'message', { signal })) as [RelayWord];
    if ('failed' in word)
      throw new HypervisorError('address-unusable', `no relay listens at ${order.host}:${order.port}: ${word.failed}`);
  } catch (error) {
    close();
    throw error;
  }
  // A thread that breaks off has closed its connections: the migration's QEMUs see that.
  worker.on('error', () => undefined);
  return { close };
}
