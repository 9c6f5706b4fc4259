/** Real QEMUs that make their taps, where this user may; elsewhere they say what they may not. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Hypervisor } from './hypervisor.ts';
import { send, waitGone } from './qemu-process.ts';

const run = promisify(execFile);
const wait = (): AbortSignal => AbortSignal.timeout(30_000);
const bridge = `fyb${process.pid}`;
const domain = (on: string): string =>
  `<domain type='qemu'><name>web 1</name><memory unit='MiB'>16</memory><os><type machine='pc-q35-7.2'>hvm</type></os>
    <devices><interface type='bridge'><source bridge='${on}'/><target dev='vnet0'/><model type='virtio'/><mtu size='1400'/></interface></devices></domain>`;

let dir: string;
let hypervisor: Hypervisor;
let mayMakeDevices: boolean;

beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-tap-');
  const policy = { allowedRoots: [dir], maxBytes: 1024 * 1024 };
  hypervisor = await Hypervisor.open(
    { stateDir: dir, binary: 'qemu-system-x86_64', side: 'source', policy, memoryReserveBytes: 0 },
    wait(),
  );
  mayMakeDevices = await run('ip', ['link', 'add', bridge, 'type', 'bridge']).then(
    () => true,
    () => false,
  );
});
afterEach(async () => {
  await hypervisor[Symbol.asyncDispose]();
  if (mayMakeDevices) await run('ip', ['link', 'del', bridge]);
  await rm(dir, { recursive: true, force: true });
});

interface Link {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
}
async function pluggedIn(): Promise<readonly Link[]> {
  const { stdout } = await run('ip', ['-json', 'link', 'show', 'master', bridge]);
  return JSON.parse(stdout.trim() === '' ? '[]' : stdout) as readonly Link[];
}

describe('a card on a bridge', () => {
  it('has a tap there as long as QEMU runs', async () => {
    const creating = hypervisor.create(hypervisor.read(domain(bridge)), undefined, wait());
    if (!mayMakeDevices) {
      await expect(creating).rejects.toMatchObject({ kind: 'qemu-start-failed' });
      return;
    }
    const guest = await creating;
    expect(await pluggedIn()).toMatchObject([
      { ifname: expect.stringMatching(/^ferry[0-9a-f]{9}$/), mtu: 1400, address: expect.stringMatching(/^fe:54:00:/) },
    ]);
    expect((await pluggedIn())[0]?.flags).toContain('UP');
    await send(guest.process, 'SIGKILL');
    await waitGone(guest.process, wait());
    // The kernel takes it away a moment after the process is gone.
    for (const end = wait(); (await pluggedIn()).length > 0; ) end.throwIfAborted();
  });

  it('does not start a guest whose bridge is not there', async () => {
    const creating = hypervisor.create(hypervisor.read(domain('fyb-none')), undefined, wait());
    await expect(creating).rejects.toMatchObject({
      kind: 'qemu-start-failed',
      message: expect.stringMatching(mayMakeDevices ? /plugged into bridge fyb-none of this host/ : /web 1/),
    });
    expect(await hypervisor.list()).toEqual([]);
  });
});
