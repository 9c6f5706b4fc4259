import { stat, utimes } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import { buildGuest } from './build.ts';
import { configText, guestConfig } from './config.ts';
import { guestXml } from './xml.ts';

describe('guestConfig', () => {
  it('completes what is not given', () => {
    expect(configText(guestConfig())).toBe('dirty=1048576 rate=0 tick=10 sweep=1000 seed=0');
    expect(guestConfig({ dirty: '64M', rate: '1G', tickMs: 1 })).toEqual({
      dirtyBytes: 64 * 1024 ** 2,
      rateBytesPerSecond: 1024 ** 3,
      tickMs: 1,
      sweepMs: 1000,
      seed: 0,
    });
  });

  it.each([
    [{ dirty: '1T' }, '"1T" is not a size like 64M'],
    [{ dirty: 0 }, 'dirty is 0, must be 4096 to 4294967295 in steps of 4096'],
    [{ dirty: 5000 }, 'dirty is 5000'],
    [{ rate: 1000 }, 'rate is 1000, must be 0 to 4294967295 in steps of 1024'],
    [{ rate: '8G' }, 'rate is 8589934592'],
    [{ tickMs: 0 }, 'tick is 0, must be 1 to 1000'],
    [{ tickMs: 1.5 }, 'tick is 1.5'],
    [{ seed: -1 }, 'seed is -1'],
  ])('refuses %j', (options, says) => {
    expect(() => guestConfig(options)).toThrow(says);
  });
});

describe('guestXml', () => {
  const domain = {
    name: 'web-1',
    memoryMiB: 64,
    rate: '1M',
    serial: { type: 'unix', path: "/run/a&b's" },
    rom: '/r/guest.rom',
  } as const;

  it('is a domain that boots the ROM with its configuration', () => {
    const xml = guestXml({ ...domain, uuid: '0c9a1e68-3f5f-4a57-9d5e-0d2f3d1f2b11' });
    expect(xml).toContain("<loader readonly='yes' type='rom'>/r/guest.rom</loader>");
    expect(xml).toContain("<entry name='opt/ferry.guest'>dirty=1048576 rate=1048576 tick=10 sweep=1000 seed=0</entry>");
    expect(xml).toContain("<source mode='bind' path='/run/a&#38;b&#39;s'/>");
    expect(xml).toContain('<uuid>0c9a1e68-3f5f-4a57-9d5e-0d2f3d1f2b11</uuid>');
    expect(guestXml(domain)).not.toContain('uuid');
  });

  it('refuses a working set that does not fit', () => {
    expect(() => guestXml({ ...domain, dirty: '64M' })).toThrow(
      'dirty is 67108864, more than 64 MiB - 1 MiB of memory',
    );
  });
});

describe('buildGuest', () => {
  it('gives one whole ROM to all who build at once, and leaves a newer one alone', async () => {
    const rom = await buildGuest();
    await utimes(rom, 0, 0);
    expect(new Set(await Promise.all(Array.from({ length: 8 }, () => buildGuest())))).toEqual(new Set([rom]));
    const built = await stat(rom);
    expect(built.size).toBe(0x10000);
    await buildGuest();
    expect((await stat(rom)).ino).toBe(built.ino);
  });
});
