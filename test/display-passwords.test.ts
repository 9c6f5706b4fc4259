/** A display's password is for its QEMUs alone: on both hosts it lets in who has it, and it is shown and kept nowhere else. */
import { createCipheriv, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabHost } from '@ferry/lab';
import { Outcome, Protocol } from '@ferry/proto/ferry/v1/migration';
import { callsOf, endOf, refusal, type TestGuest, World } from './world.ts';

const password = 'q7Zx!w2p';

/** The key's bits in the order in which VNC sends them, three times over: triple DES of one key is DES. */
const keyOf = (word: string): Buffer => {
  const key = Buffer.alloc(8);
  Buffer.from(word).copy(key);
  const turned = key.map((byte) =>
    Number.parseInt(byte.toString(2).padStart(8, '0').split('').toReversed().join(''), 2),
  );
  return Buffer.concat([turned, turned, turned]);
};

/** Whether a VNC server lets a client in that has this password (RFC 6143, 7.1 and 7.2.2). */
async function letsIn(path: string, word: string): Promise<boolean> {
  await using socket = connect(path);
  const bytes = socket[Symbol.asyncIterator]();
  let have = Buffer.alloc(0);
  const read = async (count: number): Promise<Buffer> => {
    while (have.length < count) {
      const { value, done } = (await bytes.next()) as { value: Buffer; done?: boolean };
      if (done === true) throw new Error('the server hung up');
      have = Buffer.concat([have, value]);
    }
    const part = have.subarray(0, count);
    have = have.subarray(count);
    return part;
  };
  socket.write(await read(12));
  const [count = 0] = await read(1);
  expect([...(await read(count))]).toEqual([2]);
  socket.write(Buffer.from([2]));
  const challenge = await read(16);
  const answer = createCipheriv('des-ede3-ecb', keyOf(word), null).setAutoPadding(false);
  socket.write(Buffer.concat([answer.update(challenge), answer.final()]));
  return (await read(4)).readUInt32BE() === 0;
}

const textsIn = (dir: string, but: (path: string) => boolean): string =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !but(join(entry.parentPath, entry.name)))
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');

describe("a display's password", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
  });

  async function started(passwd: string): Promise<TestGuest> {
    const guest = world.describe();
    const display = `<graphics type='vnc' passwd='${passwd}'><listen type='socket'/></graphics>`;
    await callsOf(world.a).start(guest.xml.replace('</devices>', `${display}</devices>`));
    await world.ticksOn(guest);
    return guest;
  }
  const socketOn = (host: LabHost, guest: TestGuest): string => join(host.stateDir, 'domains', guest.uuid, 'vnc.sock');

  it('goes with the guest, and is shown and kept nowhere but where its QEMU is', async () => {
    const guest = await started(password);
    expect(await letsIn(socketOn(world.a, guest), password)).toBe(true);
    expect(await letsIn(socketOn(world.a, guest), 'another')).toBe(false);
    expect((await callsOf(world.a).getDomain(guest.uuid)).domainXml).toContain("passwd='*****'");

    const names = { migrationId: randomUUID(), domain: guest.name, protocol: Protocol.PROTOCOL_V3 } as const;
    const asked = { ...names, options: undefined };
    const begun = await callsOf(world.a).begin(asked);
    expect(begun.domainXml).toContain("passwd='*****'");
    expect(await callsOf(world.a).begin(asked)).toEqual(begun);
    const place = { domainXml: begun.domainXml, cookieIn: begun.cookieOut, migrationUri: '' };
    const prepared = await callsOf(world.b).prepare({ ...names, ...place });
    const records = await Promise.all(
      (await world.lab.redis.client.keys('*')).map((name) => world.lab.redis.client.dumpBuffer(name)),
    );
    const places = {
      redis: records.map((record) => record?.toString('latin1')).join('\n'),
      files: textsIn(world.lab.dir, (path) => path.endsWith('/domain.xml')),
      processes: readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .map((pid) => {
          try {
            return readFileSync(join('/proc', pid, 'cmdline'), 'latin1');
          } catch {
            return '';
          }
        })
        .join('\n'),
    };
    for (const [at, text] of Object.entries(places)) expect([at, text.includes(password)]).toEqual([at, false]);

    const way = { cookieIn: prepared.cookieOut, migrationUri: prepared.migrationUri, options: undefined };
    const performed = await callsOf(world.a).perform({ ...names, ...way });
    const finished = await callsOf(world.b).finish({ ...names, cookieIn: performed.cookieOut, cancelled: false });
    await callsOf(world.a).confirm({ ...names, cookieIn: finished.cookieOut, cancelled: false });
    await world.expectSettled(guest, world.b);
    expect(await letsIn(socketOn(world.b, guest), password)).toBe(true);
    expect(await letsIn(socketOn(world.b, guest), '*****')).toBe(false);
    // And on: what came in a cookie is there to be passed on.
    expect(endOf(await world.migrate(guest, {}, world.b, world.a)).outcome).toBe(Outcome.OUTCOME_COMPLETED);
    expect(await letsIn(socketOn(world.a, guest), password)).toBe(true);
  });

  it('keeps the guest from version 2, which has no cookie to carry it', async () => {
    const guest = await started(password);
    const names = { migrationId: randomUUID(), domain: guest.name, options: undefined } as const;
    expect(await refusal(callsOf(world.a).dumpXml(names))).toMatchObject({
      reason: 'migration-blocked',
      message: expect.stringContaining('migrate with version 3'),
    });
  });

  it('that is only shown as stars lets no client in', async () => {
    const guest = await started('*****');
    expect(await letsIn(socketOn(world.a, guest), '*****')).toBe(false);
    expect(await letsIn(socketOn(world.a, guest), '')).toBe(false);
  });
});
