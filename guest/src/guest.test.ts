import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { buildGuest } from './build.ts';
import { type GuestConfig, guestConfig } from './config.ts';
import { RawQemu, type RawQemuOptions } from './raw-qemu.ts';
import { tickBlackout, verifyTicks } from './ticks.ts';

let directory: string;
let rom: string;
let count = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ferry-guest-'));
  rom = await buildGuest();
});
afterAll(() => rm(directory, { recursive: true }));

/** A QEMU for a configuration, not yet running. */
function start(config: GuestConfig, options: Partial<RawQemuOptions> = {}): Promise<RawQemu> {
  count += 1;
  return RawQemu.start({ rom, directory, name: `q${count}`, config, memoryMiB: 64, ...options });
}

/** Starts a guest, lets it tick a while, migrates it; the destination is left paused. */
async function migrated(config: GuestConfig, options: Partial<RawQemuOptions> = {}) {
  const incoming = join(directory, `incoming${count}`);
  const source = await start(config, options);
  const dest = await start(config, { ...options, incoming });
  await source.execute('cont');
  await source.ticked(50);
  await source.execute('migrate-set-parameters', { 'max-bandwidth': 4 * 1024 ** 3, 'downtime-limit': 300 });
  await source.execute('migrate', { uri: `unix:${incoming}` });
  await source.migrated('completed');
  await dest.migrated('completed');
  return {
    source,
    dest,
    [Symbol.asyncDispose]: () => Promise.all([source, dest].map((q) => q[Symbol.asyncDispose]())).then(() => {}),
  };
}

describe.each(['pc-q35-7.2', 'pc-i440fx-7.2'])('the guest on %s', (machine) => {
  it('says what its configuration foretells', async () => {
    const config = guestConfig({ dirty: '8M', rate: '24M', tickMs: 5, sweepMs: 200, seed: 42 });
    await using qemu = await start(config, { machine });
    await qemu.execute('cont');
    await qemu.ticked(200);
    expect(verifyTicks(qemu.output, config)).toMatchObject({ firstTick: 1, intact: true, problems: [] });
  });

  it('goes on after a migration without a gap, its memory intact', async () => {
    const config = guestConfig({ dirty: '64M', rate: '50M', tickMs: 1, seed: 7 });
    await using hosts = await migrated(config, { machine, memoryMiB: 256 });
    const { source, dest } = hosts;
    const before = verifyTicks(source.output, config);
    await dest.execute('cont');
    await dest.ticked((before.lastTick ?? 0) + 1000);
    const report = verifyTicks(source.output + dest.output, config);
    expect(report).toMatchObject({ firstTick: 1, intact: true, problems: [] });
    expect(report.ticks).toBe(report.lastTick);
    // The clocks of both sides are this process's; the longest gap is where the guest changed hosts, or a busy machine's.
    expect(tickBlackout([...source.arrivals, ...dest.arrivals])?.gapUs).toBeGreaterThan(0);
  });
});

it.each([1, 17, 50, 120])('keeps time at %i ms a tick', async (tickMs) => {
  const config = guestConfig({ tickMs });
  await using qemu = await start(config);
  await qemu.execute('cont');
  await qemu.ticked(12);
  expect(verifyTicks(qemu.output, config)).toMatchObject({ firstTick: 1, intact: true });
});

it('finds memory that did not arrive as it was', async () => {
  const config = guestConfig({ dirty: '16M', tickMs: 1, sweepMs: 100 });
  await using hosts = await migrated(config);
  const { source, dest } = hosts;
  const page = 1234;
  await dest.poke(directory, 0x100000 + page * 4096 + 5 * 64, Buffer.alloc(4));
  await dest.execute('cont');
  await dest.ticked((source.arrivals.at(-1)?.tick ?? 0) + 250);
  const report = verifyTicks(source.output + dest.output, config);
  expect(report).toMatchObject({ gaps: 0, repeats: 0, checksumsOk: false, intact: false });
  expect(report.bad).toBeGreaterThan(0);
  expect(report.problems.join('\n')).toMatch(/BAD \d{8} 00001234 05 [0-9a-f]{8} 00000000/);
});

it.each([
  ['more than its memory', { dirty: '64M' }, 'ERR dirty does not fit into memory above 1 MiB\n'],
  ['ticks that are too long', { tickMs: 2000 }, 'ERR tick must be 1 to 1000 ms\n'],
])('refuses %s', async (_what, options, says) => {
  const { tickMs, ...rest } = { tickMs: 10, ...options };
  await using qemu = await start({ ...guestConfig(rest), tickMs });
  await qemu.execute('cont');
  await qemu.until(() => (qemu.output.endsWith('\n') ? true : undefined));
  expect(qemu.output).toBe(says);
});

it('runs in 4 MiB', async () => {
  const config = guestConfig({ dirty: '3M', rate: '3M' });
  await using qemu = await start(config, { memoryMiB: 4 });
  await qemu.execute('cont');
  await qemu.ticked(120);
  expect(verifyTicks(qemu.output, config)).toMatchObject({ intact: true });
});
