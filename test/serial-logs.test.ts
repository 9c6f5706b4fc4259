/** A guest that writes to its serial port without end does not fill the host's disk. */
import { appendFileSync, readFileSync, statSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { eventually, World } from './world.ts';

it('serial output is cut to its end beyond FERRY_SERIAL_LOG_MIB, and the guest goes on behind that', async () => {
  await using world = await World.start({ hosts: ['a'], env: { FERRY_SERIAL_LOG_MIB: '1' } });
  const { output } = await world.boot(world.a);
  const size = (): number => statSync(output).size;
  // What a guest that is not as slow as ours would have written by now.
  appendFileSync(output, Buffer.alloc(2 * 2 ** 20, 0x78));
  await eventually('it is cut', () => size() < 2 ** 20);
  const after = size();
  expect(after).toBeGreaterThanOrEqual(64 * 1024);
  await eventually('the guest goes on', () => size() > after);
  expect(readFileSync(output, 'latin1')).toMatch(/x\n?[^x\0]+$/);
});
