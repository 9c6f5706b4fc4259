/** Plugs the network devices that QEMU has made into the host's bridges; they end with QEMU. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Tap } from '@ferry/domain-xml';
import { HypervisorError } from './errors.ts';

const run = promisify(execFile);

/** Throws HypervisorError qemu-start-failed if a bridge is not there. */
export async function plugIn(taps: readonly Tap[], domain: string): Promise<void> {
  for (const { name, address, bridge, isolated, mtu } of taps) {
    const options = [
      'address',
      address,
      ...(bridge === undefined ? [] : ['master', bridge]),
      ...(mtu === undefined ? [] : ['mtu', String(mtu)]),
    ];
    const set = (...words: string[]) => run('ip', ['link', 'set', 'dev', name, ...words], { timeout: 5_000 });
    try {
      // Only a port can be isolated, and it must be before anything passes.
      if (isolated === true) {
        await set(...options);
        await set('type', 'bridge_slave', 'isolated', 'on');
        await set('up');
      } else await set(...options, 'up');
    } catch (cause) {
      const how = isolated === true ? 'be an isolated port of' : 'be plugged into';
      const where = bridge === undefined ? 'be switched on' : `${how} bridge ${bridge} of this host`;
      const message = `network device ${name} of domain ${domain} cannot ${where}: make the bridge, or change <interface>`;
      throw new HypervisorError('qemu-start-failed', message, { cause });
    }
  }
}
