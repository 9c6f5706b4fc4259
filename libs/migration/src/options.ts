/** What a caller may choose, and what QEMU is told. */
import type { MigrationOptions } from '@ferry/proto/ferry/v1/migration';
import { MigrationError } from './errors.ts';
import type { Side } from './phases.ts';

/** A 10 Gb/s network; QEMU's own default of 128 MiB/s is of 2010. */
const bandwidthDefault = 1_250_000_000;
const downtimeMsDefault = 300;
/** QEMU's own limit (migration/options.c, MAX_MIGRATE_DOWNTIME). */
const downtimeMsMax = 2_000_000;

export interface Limits {
  readonly bandwidthBytesPerSecond: number;
  readonly downtimeLimitMs: number;
}

/** Checks options and fills in the defaults. Throws MigrationError invalid-request. */
export function limitsOf(options: MigrationOptions | undefined): Limits {
  const bandwidth = Number(options?.bandwidthBytesPerSecond ?? 0n);
  const downtime = options?.downtimeLimitMs ?? 0;
  if (bandwidth < 0 || !Number.isSafeInteger(bandwidth)) {
    throw new MigrationError(
      'invalid-request',
      `bandwidth_bytes_per_second is ${bandwidth}: give a positive number, or 0 for the default`,
    );
  }
  if (downtime > downtimeMsMax) {
    throw new MigrationError(
      'invalid-request',
      `downtime_limit_ms is ${downtime}: QEMU allows at most ${downtimeMsMax}`,
    );
  }
  return {
    bandwidthBytesPerSecond: bandwidth === 0 ? bandwidthDefault : bandwidth,
    downtimeLimitMs: downtime === 0 ? downtimeMsDefault : downtime,
  };
}

/**
 * The capabilities each side always switches on, and what for. `required`: without it we do not migrate. `events` tells of every
 * change of state; `return-path` makes the source's `completed` mean that the destination has loaded everything;
 * `pause-before-switchover` gives a place to act between the last page and the device state; `late-block-activate` keeps the
 * destination's hands off the disks until it runs (QEMU 10.0 does so always, but still accepts it).
 */
const capabilities: Readonly<Record<Side, readonly { readonly name: Capability; readonly required: boolean }[]>> = {
  source: [
    { name: 'events', required: true },
    { name: 'return-path', required: true },
    { name: 'pause-before-switchover', required: true },
  ],
  dest: [
    { name: 'events', required: true },
    { name: 'return-path', required: true },
    { name: 'late-block-activate', required: false },
  ],
};

/** The capabilities of the oldest QEMU we support. Newer ones are off unless somebody sets them, and nobody but us does. */
const known = [
  'xbzrle',
  'rdma-pin-all',
  'auto-converge',
  'zero-blocks',
  'compress',
  'events',
  'postcopy-ram',
  'x-colo',
  'release-ram',
  'block',
  'return-path',
  'pause-before-switchover',
  'multifd',
  'dirty-bitmaps',
  'postcopy-blocktime',
  'late-block-activate',
  'x-ignore-shared',
  'validate-uuid',
  'background-snapshot',
  'zero-copy-send',
  'postcopy-preempt',
] as const;
export type Capability = (typeof known)[number];

/** What `query-migrate-capabilities` says of one. */
interface CapabilityState {
  readonly capability: string;
  readonly state: boolean;
}

/**
 * The capabilities to change so that ours are on and all others off, whatever an earlier try left. Only those that differ: QEMU 7.2
 * reads a command in 4 µs a byte. Throws MigrationError capability-missing.
 */
export function capabilitiesToSet(
  side: Side,
  offered: readonly CapabilityState[],
): { readonly capability: Capability; readonly state: boolean }[] {
  const wanted = capabilities[side];
  const now = new Map(offered.map(({ capability, state }) => [capability, state]));
  const missing = wanted.filter((c) => c.required && !now.has(c.name)).map((c) => c.name);
  if (missing.length > 0) {
    throw new MigrationError(
      'capability-missing',
      `the ${side}'s QEMU lacks the migration capabilities ${missing.join(', ')}: QEMU 7.2 or newer is needed`,
    );
  }
  return known
    .map((capability) => ({ capability, state: wanted.some((c) => c.name === capability) }))
    .filter(({ capability, state }) => now.has(capability) && now.get(capability) !== state);
}
