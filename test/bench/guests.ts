/** The guests that the bench moves: small, quick to start, and able to prove that they arrived whole. */
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type GuestOptions, guestConfig, guestXml, verifyTicks } from '@ferry/guest';

export interface BenchGuest {
  readonly uuid: string;
  readonly xml: string;
  /** Its serial output: both hosts append to the same file. */
  readonly output: string;
  readonly options: GuestOptions;
}

export interface GuestKind extends GuestOptions {
  readonly memoryMiB: number;
}

/** A guest that nobody runs yet. Its output file is there, so that it can be watched from the first tick on. */
export function describeGuest(kind: GuestKind, rom: string, dir: string): BenchGuest {
  const { memoryMiB, ...options } = kind;
  const uuid = randomUUID();
  const output = join(dir, `${uuid}.out`);
  writeFileSync(output, '');
  const xml = guestXml({
    ...options,
    name: `bench-${uuid}`,
    uuid,
    memoryMiB,
    rom,
    serial: { type: 'file', path: output },
  });
  return { uuid, xml, output, options };
}

const lookEveryMs = 5;

/** Waits until the guest has gone on for so many ticks from now. Throws the signal's reason, or when a tick was lost, repeated or wrong. */
export async function untilTicked(guest: BenchGuest, ticks: number, signal: AbortSignal): Promise<void> {
  const report = () => verifyTicks(readFileSync(guest.output, 'latin1'), guestConfig(guest.options));
  const from = report().lastTick ?? 0;
  for (;;) {
    const { lastTick, problems } = report();
    if (problems.length > 0) throw new Error(`guest ${guest.uuid} is damaged: ${problems.join('; ')}`);
    if ((lastTick ?? 0) >= from + ticks) return;
    await delay(lookEveryMs);
    signal.throwIfAborted();
  }
}
