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
const withCard = (type: string, parts: string): string =>
  `<domain type='qemu'><name>web 1</name><memory unit='MiB'>16</memory><os><type machine='pc-q35-7.2'>hvm</type></os>
    <devices><interface type='${type}'>${parts}<target dev='vnet0'/><model type='virtio'/><mtu size='1400'/></interface></devices></domain>`;
const domain = (on: string): string => withCard('bridge', `<source bridge='${on}'/>`);

let dir: string;
let hypervisor: Hypervisor;
let mayMakeDevices: boolean;

beforeEach(async () => {
  dir = await mkdtemp('/tmp/ferry-tap-');
  const policy = { allowedRoots: [dir], maxBytes: 1024 * 1024 };
  hypervisor = await Hypervisor.open(
    {
      stateDir: dir,
      binary: 'qemu-system-x86_64',
      side: 'source',
      policy,
      memoryReserveBytes: 0,
      networks: new Map([
        ['lan/guests', bridge],
        ['gone', 'fyb-none'],
      ]),
    },
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
  readonly linkinfo: { readonly info_slave_data: { readonly isolated: boolean } };
}
async function pluggedIn(): Promise<readonly Link[]> {
  const { stdout } = await run('ip', ['-json', '-details', 'link', 'show', 'master', bridge]);
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
    expect((await pluggedIn())[0]?.linkinfo.info_slave_data.isolated).toBe(false);
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

describe('a card in a network', () => {
  const inNetwork = (source: string, more = ''): string =>
    withCard('network', `<source ${source}/><port isolated='yes'/>${more}`);

  it('has a tap on the bridge that the network is here, isolated if it is to be, with what it may hold back', async () => {
    const xml = inNetwork("network='lan' portgroup='guests'", '<tune><sndbuf>65536</sndbuf></tune>');
    const creating = hypervisor.create(hypervisor.read(xml), undefined, wait());
    if (!mayMakeDevices) {
      await expect(creating).rejects.toMatchObject({ kind: 'qemu-start-failed' });
      return;
    }
    const guest = await creating;
    expect(await pluggedIn()).toMatchObject([
      { mtu: 1400, flags: expect.arrayContaining(['UP']), linkinfo: { info_slave_data: { isolated: true } } },
    ]);
    expect(await hypervisor.xmlOf(guest.uuid)).toContain("<source network='lan' portgroup='guests'/>");
    await send(guest.process, 'SIGKILL');
    await waitGone(guest.process, wait());
  });

  it('is not started where the bridge of its network is not there', async () => {
    const creating = hypervisor.create(hypervisor.read(inNetwork("network='gone'")), undefined, wait());
    await expect(creating).rejects.toMatchObject({
      kind: 'qemu-start-failed',
      message: expect.stringMatching(mayMakeDevices ? /be an isolated port of bridge fyb-none of this host/ : /web 1/),
    });
  });

  it.each([
    ["network='lan'", 'lan'],
    ["network='constructor'", 'constructor'],
    ["network='lan' portgroup='others'", 'lan/others'],
  ])('is not started where the host does not know the network: %s', async (source, named) => {
    const creating = hypervisor.create(hypervisor.read(inNetwork(source)), undefined, wait());
    await expect(creating).rejects.toMatchObject({
      kind: 'network-missing',
      message: `network "${named}" of domain web 1 (/domain/devices/interface/source) is none of FERRY_NETWORKS of this host: add ${named}=BRIDGE there and start its agents anew, or use <interface type='bridge'>`,
    });
    expect(await hypervisor.list()).toEqual([]);
  });
});
