/** Everything in Redis is kept by the names of hosts: two hosts of one name, or of one UUID, and a second daemon of a host do not serve. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { Lab, type LabOptions } from '@ferry/lab';

const [uuid, other] = [randomUUID(), randomUUID()];
let dir: string;
let lab: Lab | undefined;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ferry-names-'));
});
afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

/** Hosts a and b, the agents of a serving; gives how b's source agent fails to. */
async function refused(env: NonNullable<LabOptions['env']>): Promise<string> {
  lab = await Lab.start({ agents: 'not-started', env });
  await lab.host('a').source.start();
  await lab.host('a').dest.start();
  const { source } = lab.host('b');
  const error: unknown = await source.start().catch((reason: unknown) => reason);
  await lab.host('a').source.restart({ signal: 'SIGKILL' });
  return error instanceof Error ? error.message : String(error);
}

it('a second host of one name is refused, and told both UUIDs', async () => {
  const said = await refused(({ host }) => ({ FERRY_HOST: 'x', FERRY_HOST_UUID: host === 'a' ? uuid : other }));
  expect(said).toContain(`this host is x, UUID ${other}, and another host, UUID ${uuid}, is alive as x`);
});

it('a second host of one UUID is refused, and told both names', async () => {
  const said = await refused({ FERRY_HOST_UUID: uuid });
  expect(said).toContain(`this host is b, UUID ${uuid}, and a host of this UUID is alive as a`);
});

it('a second daemon of one state directory is refused', async () => {
  const said = await refused({ FERRY_STATE_DIR: join(dir, 'state') });
  expect(said).toMatch(/another source agent \(pid \d+\) uses the state directory/);
});
