import { describe, expect, it } from '@jest/globals';
import { Ports } from './ports.ts';

const free = async (): Promise<boolean> => true;

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
