/** What `./dev lab up` leaves in the checkout so that later commands find the lab; `ferry` reads it as its hosts file. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Lab } from './lab.ts';
import { workspace } from './program.ts';

const agent = z.object({ address: z.string(), pid: z.number() });
const host = z.object({
  name: z.string(),
  source: z.string(),
  dest: z.string(),
  stateDir: z.string(),
  agents: z.object({ source: agent, dest: agent }),
});
const up = z.object({
  state: z.literal('up'),
  dir: z.string(),
  files: z.string(),
  hosts: z.array(host),
  tls: z.object({ ca: z.string(), cert: z.string(), key: z.string() }),
  redis: z.object({ url: z.string(), pid: z.number() }),
});
const starting = z.object({ state: z.literal('starting'), dir: z.string() });
const content = z.discriminatedUnion('state', [up, starting]);

/** A lab that is up, or one whose start has begun: then only its directory is known. */
export type LabFile = z.infer<typeof content>;
export type LabFileUp = z.infer<typeof up>;

/** FERRY_LAB_FILE, or .lab/lab.json in the checkout. */
function labFilePath(): string {
  return process.env['FERRY_LAB_FILE'] ?? join(workspace, '.lab', 'lab.json');
}

/** Undefined if there is none; throws if it is not what we write. */
export function readLabFile(): LabFile | undefined {
  const path = labFilePath();
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  try {
    return content.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(
      `${path} is damaged; remove it after having looked for processes with FERRY_LAB in their environment`,
      { cause },
    );
  }
}

/** Appears whole or not at all. */
export function writeLabFile(file: LabFile): void {
  const path = labFilePath();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(file, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function removeLabFile(): void {
  rmSync(labFilePath(), { force: true });
}

/** A running lab as its file describes it: also what `ferry --hosts-file` reads. */
export function describeLab(lab: Lab): LabFileUp {
  const hosts = Object.values(lab.hosts).map(({ name, stateDir, source, dest }) => ({
    name,
    source: source.address,
    dest: dest.address,
    stateDir,
    agents: {
      source: { address: source.address, pid: source.pid ?? 0 },
      dest: { address: dest.address, pid: dest.pid ?? 0 },
    },
  }));
  return {
    state: 'up',
    dir: lab.dir,
    files: lab.files,
    hosts,
    tls: lab.tls,
    redis: { url: lab.redis.url, pid: lab.redis.pid ?? 0 },
  };
}
