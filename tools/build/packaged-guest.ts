/** The test guest's ROM in a package, which has neither its source nor nasm: written to where a host's agents let guests have files. */
import { readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { GuestError } from '../../guest/src/errors.ts';

const place = '/var/lib/libvirt/images/ferry-guest.rom';
const rom = readFileSync(new URL('../../guest/build/guest.rom', import.meta.url));

/** Gives its path. Throws GuestError `build-failed`. */
export async function buildGuest(): Promise<string> {
  const present = await readFile(place).catch(() => undefined);
  if (present?.equals(rom) === true) return place;
  try {
    await mkdir(dirname(place), { recursive: true });
    await writeFile(place, rom);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new GuestError('build-failed', `the guest's ROM cannot be written: ${why}; run this as root`, { cause });
  }
  return place;
}
