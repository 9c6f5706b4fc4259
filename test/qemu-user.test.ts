/** Guests whose QEMUs run as a user of their own: moved as others are, and without what that user may not have. */
import { chmodSync, copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { Outcome } from '@ferry/proto/ferry/v1/migration';
import { buildGuest } from '@ferry/guest';
import { callsOf, endOf, refusal, type TestGuest, World } from './world.ts';

const nobody = 65534;

let world: World;
beforeAll(async () => {
  world = await World.start({ env: { FERRY_QEMU_USER: 'nobody' } });
  // The way to the guests' files, and a place where QEMU may make its own.
  chmodSync(world.lab.dir, 0o711);
  chmodSync(world.lab.files, 0o777);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});

/** A guest whose ROM that user can read, wherever the checkout is. */
async function described(inside = ''): Promise<TestGuest> {
  const guest = world.describe();
  const rom = join(world.lab.files, 'rom');
  copyFileSync(await buildGuest(), rom);
  chmodSync(rom, 0o644);
  const xml = guest.xml.replaceAll(await buildGuest(), rom).replace('</devices>', `${inside}</devices>`);
  return { ...guest, xml };
}

const qemuOf = ({ uuid }: TestGuest): number => world.lab.qemus().find(({ domain }) => domain === uuid)?.pid ?? 0;
const rightsOf = (pid: number): unknown => {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
  return { uid: field('Uid'), effective: field('CapEff'), bounding: field('CapBnd'), gainsNone: field('NoNewPrivs') };
};
/** CAP_NET_BIND_SERVICE alone. */
const few = {
  uid: Array(4).fill(nobody).join('\t'),
  effective: '0000000000000400',
  bounding: '0000000000000400',
  gainsNone: '1',
};

it('a guest runs as that user on both hosts, and its memory goes encrypted between them', async () => {
  const guest = await described();
  await callsOf(world.a).start(guest.xml);
  await world.ticksOn(guest);
  expect(rightsOf(qemuOf(guest))).toEqual(few);
  expect(endOf(await world.migrate(guest))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
  await world.expectSettled(guest, world.b);
  expect(rightsOf(qemuOf(guest))).toEqual(few);
  const place = join(world.b.stateDir, 'domains', guest.uuid);
  // Its own is one directory; what the agents believe lies where it cannot write.
  const owners = ['', 'run', 'domain.json', 'qemu.json'].map((name) => statSync(join(place, name)).uid);
  expect(owners).toEqual([0, nobody, 0, 0]);
  expect(statSync(world.b.stateDir).mode & 0o777).toBe(0o711);
  // Back, through a socket in the directory that is QEMU's too.
  const migrationUri = `unix:${join(world.lab.dir, 'sockets', 'back')}`;
  expect(endOf(await world.migrate(guest, { migrationUri }, world.b, world.a))).toMatchObject({
    outcome: Outcome.OUTCOME_COMPLETED,
    failure: undefined,
  });
  await world.expectSettled(guest, world.a);
  expect(() => statSync(place)).toThrow('ENOENT');
});

it('a guest with a TPM moves as well, whose program is that user’s too', async () => {
  const guest = await described("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>");
  await callsOf(world.a).start(guest.xml);
  await world.ticksOn(guest);
  const pidFile = join(world.a.stateDir, 'domains', guest.uuid, 'run', 'swtpm.pid');
  expect(rightsOf(Number(readFileSync(pidFile, 'latin1')))).toMatchObject({ uid: few.uid, effective: '0'.repeat(16) });
  expect(endOf(await world.migrate(guest))).toMatchObject({ outcome: Outcome.OUTCOME_COMPLETED, failure: undefined });
  await world.expectSettled(guest, world.b);
});

it('a disk that the user may not write to is refused by name, before anything is started', async () => {
  const path = join(world.lab.files, 'root.img');
  writeFileSync(path, Buffer.alloc(1 << 20), { mode: 0o644 });
  const disk = `<disk type='file'><driver name='qemu' type='raw'/><source file='${path}'/><target dev='vda' bus='virtio'/></disk>`;
  const guest = await described(disk);
  const refused = { reason: 'file-refused', message: expect.stringMatching(/root\.img .*nobody \(FERRY_QEMU_USER\)/) };
  expect(await refusal(callsOf(world.a).start(guest.xml))).toMatchObject(refused);
  expect((await callsOf(world.a).check(guest.xml)).findings).toContainEqual(
    expect.objectContaining({ reason: 'file-refused' }),
  );
  chmodSync(path, 0o666);
  await callsOf(world.a).start(guest.xml);
});
