import { describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { freePort, Ports } from './ports.ts';

const signal = AbortSignal.timeout(30_000);
const free = async (): Promise<boolean> => true;

describe('a free port', () => {
  it('is the first on which nobody listens', async () => {
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const found = await freePort('127.0.0.1', { first: port, last: Math.min(port + 50, 65535) }, signal);
      expect(found).toBeGreaterThan(port);
      await expect(freePort('127.0.0.1', { first: port, last: port }, signal)).rejects.toMatchObject({
        kind: 'ports-exhausted',
      });
    } finally {
      server.close();
    }
  });
});

describe('ports', () => {
  it('are handed out in turn, and one given back rests until the others have had theirs', async () => {
    const ports = new Ports({ first: 10, last: 12 });
    const first = await ports.take(free);
    first.release();
    expect((await ports.take(free)).port).toBe(11);
    expect((await ports.take(free)).port).toBe(12);
    expect((await ports.take(free)).port).toBe(10);
  });

  it('that somebody outside uses are passed over', async () => {
    const ports = new Ports({ first: 10, last: 12 });
    expect((await ports.take(async (port) => port !== 10)).port).toBe(11);
  });

  it('that are all taken are an error that says what to do', async () => {
    const ports = new Ports({ first: 10, last: 10 });
    await ports.take(free);
    await expect(ports.take(free)).rejects.toMatchObject({
      kind: 'ports-exhausted',
      message: expect.stringContaining('FERRY_MIGRATION_PORTS'),
    });
  });

  it('are not lost when listening fails', async () => {
    const ports = new Ports({ first: 10, last: 10 });
    await expect(ports.take(async () => Promise.reject(new Error('no such address')))).rejects.toThrow(
      'no such address',
    );
    expect((await ports.take(free)).port).toBe(10);
  });
});
