import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';

/** Time is a process's own, so each run has a process to itself. */
async function simulate(...argv: readonly string[]): Promise<{ status: number | null; said: string }> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts'), ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  const said = await text(child.stdout);
  return { status: await ended, said };
}

describe('the simulation', () => {
  it('does the same for the same seed', async () => {
    const [one, other] = [await simulate('--seed', '3'), await simulate('--seed', '3')];
    expect(one.said).toBe(other.said);
    expect(one.said.split('\n').length).toBeGreaterThan(50);
  });

  it('brings every guest over when nothing is in the way', async () => {
    const { status, said } = await simulate('--schedules', '100', '--calm');
    expect(said).toMatch(/^100 schedules with 0 faults: 0 broken; 100 guests migrated/m);
    expect(status).toBe(0);
  });

  it('finds no guest that runs twice or is ended with its last copy, and nothing that is left behind, whatever goes wrong', async () => {
    const { status, said } = await simulate('--schedules', '1500');
    expect(said.trimEnd().split('\n').at(-1)).toMatch(/^1500 schedules with \d{4} faults: 0 broken; /);
    expect(status).toBe(0);
  });

  it.each([
    ['a waiting QEMU that has ended is not asked for ever by an agent whose journal was not written', '3011877'],
    ['a Start is answered although the guest is looked at while its QEMU starts', '51161'],
    ['a paused guest whose QEMU ends at its commit stays with its source', '1137', '--kinds', 'qemu,cont-refused'],
    ['a job ends whose record Redis has evicted before its guest was sent', '115', '--kinds', 'evict,crash'],
    ['a person resolves a migration whose journal cannot be read now, and says that it was committed', '10067107'],
    ['a person says that a host is gone that had sent nothing yet', '11026343'],
    ['a guest comes back to its source while that waits for an answer about its leaving', '10125180'],
    ['a guest is destroyed while its Start describes it', '10000126'],
    ['a Start is cut off, and its QEMU, which never ran, is ended', '5022119'],
    ['a journal ends whose job has ended after Redis evicted its record', '5041778'],
  ])('comes to rest where it did not once: %s', async (_what, seed, ...more) => {
    const { status, said } = await simulate('--seed', seed, ...more);
    expect(said).toMatch(/ at rest, the guest is at /);
    expect(status).toBe(0);
  });

  it.each([
    ['the commit of a QEMU whose host went while it was under way is granted, and the source goes by it', '5001950'],
    ['a person has the last copy ended, which may be older than its disks', '5091577'],
    ['a master that was cut off is the only one to know who owns the guest', '5007033'],
  ])('does not blame the agents where %s', async (_what, seed) => {
    expect(await simulate('--seed', seed)).toMatchObject({ status: 0 });
  });

  it.each([
    ['its source’s host reboots before Redis has recorded that Perform is done', '5123', 'reboot,redis-way'],
    ['its source’s host reboots after Redis has changed', '213', 'reboot,fail-over'],
  ])('does not lose a guest that its destination holds whole: %s', async (_what, seed, kinds) => {
    const { said } = await simulate('--seed', seed, '--kinds', kinds);
    expect(said).toMatch(/ at rest, the guest is at b /);
  });

  it('finds the accident that each guard keeps away, when it is removed', async () => {
    const { status, said } = await simulate('--guards', '--known', '--schedules', '2000');
    expect(said).not.toMatch(/NOT FOUND/);
    expect(status).toBe(0);
  }, 600_000);
});
