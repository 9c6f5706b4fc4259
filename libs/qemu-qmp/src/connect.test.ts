import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { connectSocket } from './connect.ts';
import { FakeQemu } from './fake.ts';
import { Monitor } from './monitor.ts';

const soon = () => AbortSignal.timeout(30_000);

function directory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'qmp-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

describe('connecting to a monitor', () => {
  it('waits for a socket that is not there yet', async () => {
    using place = directory();
    const socket = join(place.path, 'monitor');
    const connecting = Monitor.connect(socket, soon());
    await using qemu = new FakeQemu();
    await qemu.listen(socket);
    await using monitor = await connecting;
    expect(monitor.version.package).toBe('fake');
  });

  it('waits for a directory that is not there yet', async () => {
    using place = directory();
    const within = join(place.path, 'later');
    const connecting = Monitor.connect(join(within, 'monitor'), soon());
    mkdirSync(within);
    await using qemu = new FakeQemu();
    await qemu.listen(join(within, 'monitor'));
    await using monitor = await connecting;
    expect(monitor.version.package).toBe('fake');
  });

  it('waits while nobody listens on the socket, until the signal aborts', async () => {
    using place = directory();
    const socket = join(place.path, 'monitor');
    const server = createServer().listen(socket);
    await new Promise((resolve) => server.once('listening', resolve));
    server.close();
    const ended = new AbortController();
    const connecting = connectSocket(socket, ended.signal);
    ended.abort(new Error('QEMU has ended'));
    await expect(connecting).rejects.toThrow('QEMU has ended');
  });

  it('wakes a QEMU that answers only when another client comes', async () => {
    using place = directory();
    const socket = join(place.path, 'monitor');
    await using qemu = new FakeQemu();
    const clients: Socket[] = [];
    await using server = createServer((client) => {
      if (clients.push(client) !== 2) return;
      client.destroy();
      const wire = qemu.connect();
      clients[0]?.pipe(wire).pipe(clients[0]);
    }).listen(socket);
    await using monitor = await Monitor.connect(socket, soon());
    expect(monitor.version.package).toBe('fake');
    expect(clients.length).toBeGreaterThanOrEqual(2);
    expect(server.listening).toBe(true);
  });

  it('does not begin when the signal has aborted', async () => {
    await expect(connectSocket('/nowhere', AbortSignal.abort(new Error('no')))).rejects.toThrow('no');
  });

  it('gives up at once where waiting is no use', async () => {
    using place = directory();
    const file = join(place.path, 'file');
    writeFileSync(file, '');
    const unreachable = { kind: 'qemu-unreachable' };
    await expect(connectSocket(join(file, 'monitor'), soon())).rejects.toMatchObject(unreachable);
    await expect(connectSocket(`/${'x'.repeat(200)}`, soon())).rejects.toMatchObject(unreachable);
  });
});
