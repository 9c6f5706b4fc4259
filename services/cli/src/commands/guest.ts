/** `ferry guest`: a document of the tiny test guest, so that there is something to move. */
import { CliError } from '../cli-error.ts';

/** What the guest shall do. */
export interface GuestCommandOptions {
  readonly dirty: string;
  readonly rate: string;
  readonly tick: string;
  readonly memory: string;
  readonly console?: string;
}

/** Prints the document; its ticks go to a file that can be followed with `tail -f`. */
export async function guest(
  name: string,
  chosen: GuestCommandOptions,
  labDirectory: () => string | undefined,
): Promise<void> {
  // Only here: nothing else in `ferry` needs the guest.
  const { buildGuest, GuestError, guestXml } = await import('@ferry/guest');
  const path = chosen.console ?? `${labDirectory() ?? '/var/lib/libvirt/images'}/${name}.console`;
  try {
    const rom = await buildGuest();
    const { dirty, rate } = chosen;
    const serial = { type: 'file', path } as const;
    process.stdout.write(
      guestXml({ name, memoryMiB: Number(chosen.memory), dirty, rate, tickMs: Number(chosen.tick), serial, rom }),
    );
  } catch (error) {
    if (error instanceof GuestError)
      throw new CliError(error.kind === 'config-invalid' ? 'usage' : 'failed', error.message, { cause: error });
    throw error;
  }
}
