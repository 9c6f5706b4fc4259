/** A real operating system, migrated while it computes: Debian's cloud kernel and busybox, from Debian's packages. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { verifyCounter } from './linux-guest/counter.ts';
import { linuxGuest } from './linux-guest/linux-guest.ts';
import { linuxGuestXml } from './linux-guest/xml.ts';
import { callsOf, endOf, eventually, patience, World } from './world.ts';

const cache = join(import.meta.dirname, '..', '.tools', 'linux-guest');
const guest = await linuxGuest(cache, patience(60_000));
const missing = 'missing' in guest ? `: ${guest.missing}; apt-get install linux-image-cloud-amd64 busybox-static` : '';

describe('a Linux guest', () => {
  const run = 'missing' in guest ? it.skip : it;
  run(
    `counts on after a migration, its files intact${missing}`,
    async () => {
      if ('missing' in guest) return;
      await using world = await World.start({ domainPaths: [cache, '/boot'] });
      const path = join(world.lab.files, 'linux.out');
      const xml = linuxGuestXml({ name: 'linux', guest, memoryMiB: 256, serial: { type: 'file', path } });
      const { domain } = await callsOf(world.a).start(xml);
      const report = () => verifyCounter(readFileSync(path, 'utf8'));
      const countsTo = (count: number) =>
        eventually(`Linux counts to ${count}`, () => (report().last ?? 0) >= count, patience(150_000));
      await countsTo(3);

      const events = await world.migrate({ name: 'linux', uuid: domain?.uuid ?? '', options: {}, xml, output: path });
      expect(endOf(events)).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
      expect((await callsOf(world.b).getDomain('linux')).domain?.uuid).toBe(domain?.uuid);
      await countsTo((report().last ?? 0) + 5);
      expect(report().problems).toEqual([]);
    },
    240_000,
  );
});
