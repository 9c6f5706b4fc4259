/** A guest with a card in a network, on real bridges: each host says which of its own the network is. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { callsOf, eventually, refusal, World } from './world.ts';

const run = promisify(execFile);
const bridges = { a: `fya${process.pid}`, b: `fyb${process.pid}` } as const;

let world: World;
let mayMakeDevices: boolean;
beforeAll(async () => {
  const made = await Promise.allSettled(
    Object.values(bridges).map((name) => run('ip', ['link', 'add', name, 'type', 'bridge'])),
  );
  mayMakeDevices = made.every(({ status }) => status === 'fulfilled');
  world = await World.start({
    env: ({ host }) => ({ FERRY_NETWORKS: `default=${host === 'a' ? bridges.a : bridges.b}` }),
  });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await Promise.allSettled(Object.values(bridges).map((name) => run('ip', ['link', 'del', name])));
});

async function portsOf(bridge: string): Promise<readonly { readonly address: string }[]> {
  const { stdout } = await run('ip', ['-json', 'link', 'show', 'master', bridge]);
  return JSON.parse(stdout.trim() === '' ? '[]' : stdout) as readonly { readonly address: string }[];
}

it('is on the bridge of each host, before and after it has moved', async () => {
  const described = world.describe({ name: 'in-a-network' });
  const card =
    "<interface type='network'><mac address='52:54:00:00:00:07'/><source network='default'/><model type='virtio'/></interface>";
  const guest = { ...described, xml: described.xml.replace('</devices>', `${card}</devices>`) };
  const starting = callsOf(world.a).start(guest.xml);
  if (!mayMakeDevices) {
    expect(await refusal(starting)).toMatchObject({ reason: 'qemu-start-failed' });
    return;
  }
  await starting;
  await world.ticksOn(guest);
  const port = [{ address: 'fe:54:00:00:00:07' }];
  expect([await portsOf(bridges.a), await portsOf(bridges.b)]).toMatchObject([port, []]);

  await world.migrate(guest);
  await world.expectSettled(guest, world.b);
  expect(await portsOf(bridges.b)).toMatchObject(port);
  // The kernel takes a tap away a moment after its QEMU is gone.
  await eventually('the tap of the source is gone', async () =>
    (await portsOf(bridges.a)).length === 0 ? true : undefined,
  );
});
