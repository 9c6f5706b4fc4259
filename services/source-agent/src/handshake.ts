/** The TLS handshake before memory flows: while nobody answers it QEMU stands still, and the guest with it. */
import { labelsOf } from '@ferry/agent';
import type { Guest } from '@ferry/hypervisor';
import { unsampled } from '@ferry/jobs';
import { MigrationError, type MigrationUri } from '@ferry/migration';
import type { HeldOut, SourceAgent } from './agent.ts';

/** How often a guest is sent whose handshake fails: somebody else may have come first. */
const triesMax = 3;

/** Until `signal` aborts: ends the connection of a QEMU that has waited for its handshake for FERRY_STALL_MS. */
export function endSilentHandshakes(
  agent: SourceAgent,
  held: HeldOut,
  { guest, uri }: { readonly guest: Guest; readonly uri: MigrationUri },
  signal: AbortSignal,
): void {
  if (uri.kind !== 'tcp' || uri.port === undefined) return;
  const told = (peer: string): void =>
    agent.log.warn({ ...labelsOf(held), peer }, 'the connection for memory was ended: its handshake was not answered');
  const where = { at: 'there', host: uri.host, port: uri.port } as const;
  unsampled(() => agent.hypervisor.watchHandshakes(guest, where, agent.config.stallMs, told, signal)).catch(
    (error: unknown) => agent.log.error({ err: error, ...labelsOf(held) }, 'a silent connection cannot be ended'),
  );
}

/** Calls `send` again when the handshake has failed, after `check`. Throws what it throws; handshake-failed after the third time. */
export async function repeatHandshake(
  agent: SourceAgent,
  held: HeldOut,
  send: () => Promise<void>,
  check: () => Promise<void>,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      const isHandshake = error instanceof MigrationError && error.kind === 'handshake-failed';
      if (!isHandshake || tries === triesMax) throw error;
      agent.log.warn({ err: error, ...labelsOf(held) }, 'the guest is sent again');
      await check();
    }
  }
}
