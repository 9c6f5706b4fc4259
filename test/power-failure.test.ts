/** The journals on real file systems whose power fails: what the device holds at that moment is mounted as the next life of the host finds it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { type HandoverEntry, HandoverJournals } from '@ferry/handover';

const imageBytes = 320 * 2 ** 20;
const journalsAtOnce = 20;

const entryOf = (migrationId: string): HandoverEntry => ({
  migrationId,
  domain: randomUUID(),
  name: 'web-1',
  protocol: 3,
  wasRunning: true,
  incarnation: 'one',
  run: 'run-1',
  peerHost: '',
  owner: undefined,
  startedOn: '',
  peerAddress: 'b:7102',
  asking: false,
  voteSeen: false,
  promised: [],
  decision: 'committed',
  ended: false,
});

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** What is missing here for a file system of one's own; undefined if nothing is. */
function missing(make: string): string | undefined {
  if (spawnSync(make, ['-V']).error !== undefined) return `${make} is not installed`;
  const loop = spawnSync('losetup', ['--find'], { encoding: 'utf8' });
  return loop.status === 0 ? undefined : `there is no loop device: ${loop.stderr?.trim() ?? String(loop.error)}`;
}

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-power-'));
});
afterEach(async () => rm(dir, { recursive: true }));

/** Runs `use` while an image is mounted; without a word of unmounting the file system would be found as it was left. */
async function mounted<T>(image: string, options: string, use: (at: string) => Promise<T>): Promise<T> {
  const at = `${image}.mounted`;
  await mkdir(at);
  run('mount', '-o', `loop${options}`, image, at);
  try {
    return await use(at);
  } finally {
    run('umount', at);
  }
}

async function afterPowerFailure(make: string, makeOptions: string[], mountOptions: string): Promise<void> {
  const image = join(dir, 'image');
  await writeFile(image, '');
  await truncate(image, imageBytes);
  run(make, ...makeOptions, image);
  const ids = Array.from({ length: journalsAtOnce }, () => randomUUID());
  const journalsIn = (at: string): HandoverJournals =>
    new HandoverJournals(join(at, 'handover', 'source'), () => undefined);
  await mounted(image, mountOptions, async (at) => {
    const journals = journalsIn(at);
    for (const id of ids) {
      await journals.of(id).write(entryOf(id));
      await journals.of(id).write({ ...entryOf(id), ended: true });
    }
    // The next migration's entry makes the file system write its log.
    await journals.of(randomUUID()).write(entryOf(randomUUID()));
    run('cp', '--sparse=always', image, `${image}.failed`);
  });
  await mounted(`${image}.failed`, mountOptions, async (at) => {
    const found = await Promise.all(ids.map((id) => journalsIn(at).of(id).read()));
    expect(found.filter((entry) => entry?.ended !== true)).toEqual([]);
  });
}

const fileSystems: [string, string, string[], string][] = [
  ['XFS', 'mkfs.xfs', ['-q'], ''],
  ['ext4 without its heuristics', 'mkfs.ext4', ['-q', '-F'], ',noauto_da_alloc'],
];

for (const [name, make, makeOptions, mountOptions] of fileSystems) {
  const why = missing(make);
  const title = `ended journals survive a power failure on ${name}`;
  it(why === undefined ? title : `cannot be tried here, since ${why}: ${title}`, async () => {
    if (why === undefined) await afterPowerFailure(make, makeOptions, mountOptions);
  });
}
