/** Migrations to which something happens while memory flows. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { type LabHost, signalProcess, untilGone } from '@ferry/lab';
import type { MigrationEvent } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, eventually, patience, type TestGuest, type Wish, type World } from './world.ts';

/** Never ends by itself: the world's guests write faster than that. */
export const endless = { bandwidthBytesPerSecond: 500_000n, downtimeLimitMs: 1 };

export interface UnderWay {
  readonly migrationId: string;
  readonly domain: string;
  /** All of its events, when it has ended; rejects if the source agent ends first. */
  readonly events: Promise<MigrationEvent[]>;
}

/**
 * Starts a peer-to-peer migration from a to b and returns while memory flows. Tries again, as callers do, while the destination's agent
 * cannot be reached: it may have been restarted just now.
 */
export async function startMigration(world: World, guest: TestGuest, wish: Wish = {}): Promise<UnderWay> {
  for (;;) {
    const names = { migrationId: randomUUID(), domain: guest.name };
    const events = world.migrate(guest, { migrationId: names.migrationId, options: endless, ...wish });
    const ended = events.then(endOf);
    ended.catch(() => undefined);
    const early = await Promise.race([untilMemoryFlows(world, names), ended]);
    if (early === undefined) return { ...names, events };
    if (early.failure?.reason !== 'destination-unreachable') throw new Error(`ended early: ${early.failure?.message}`);
  }
}

/** Returns when the source agent of a says that memory of this migration was sent. */
export async function untilMemoryFlows(world: World, names: { migrationId: string; domain: string }): Promise<void> {
  await eventually('memory flows', async () => {
    const found = await callsOf(world.a)
      .get(names)
      .catch(() => undefined);
    return (found?.migration?.statistics?.memoryTransferredBytes ?? 0n) > 0n;
  });
}

/** SIGKILL for a guest's QEMU on a host; returns when it is gone. */
export async function killQemu(world: World, host: LabHost, guest: TestGuest): Promise<void> {
  const qemu = world.lab.qemus().find((each) => each.host === host.name && each.domain === guest.uuid);
  if (qemu === undefined) throw new Error(`${host.name} has no QEMU of ${guest.name}`);
  signalProcess(qemu, 'SIGKILL');
  await untilGone([qemu], patience());
}

/** No host knows the guest: no QEMU, no directory, no job. */
export async function expectNothingOf(world: World, guest: TestGuest): Promise<void> {
  const hosts = Object.values(world.lab.hosts);
  await eventually(`nothing of ${guest.name} is left`, async () => {
    const there = hosts.some((host) => existsSync(join(host.stateDir, 'domains', guest.uuid)));
    const runs = world.lab.qemus().some((qemu) => qemu.domain === guest.uuid);
    return !there && !runs && (await world.leases(guest)).length === 0;
  });
  expect(await world.hostsOf(guest)).toEqual([]);
}
