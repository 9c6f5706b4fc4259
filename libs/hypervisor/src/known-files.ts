/** The files of this host's domains, as they were when their QEMUs were started: whose a file is that a document names. */
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DomainFile } from '@ferry/domain-xml';
import { z } from 'zod';
import type { QemuUser } from './confinement.ts';
import { errnoOf } from './errno.ts';

const fileSchema = z.object({ use: z.string(), path: z.string(), id: z.string() });
/** A file by what it really is: its device and inode, and its real path. */
export type KnownFile = z.infer<typeof fileSchema>;

/** What two names of one file have in common. */
export const idOf = ({ dev, ino }: { readonly dev: number; readonly ino: number }): string => `${dev}:${ino}`;

export class KnownFiles {
  readonly #domains: string;
  readonly #shared: string;

  constructor(stateDir: string) {
    this.#domains = join(stateDir, 'domains');
    this.#shared = join(stateDir, 'shared-memory');
  }

  /** Kept in the domain's directory, so that it goes with the domain. */
  record(uuid: string, files: readonly KnownFile[]): Promise<void> {
    return writeFile(join(this.#domains, uuid, 'files.json'), JSON.stringify(files), { mode: 0o600 });
  }

  /** Those of all other domains that have a place on this host. One that is being made or removed has none. */
  async ofOthers(uuid: string): Promise<readonly KnownFile[]> {
    const others = (await readdir(this.#domains).catch(() => [])).filter((name) => name !== uuid);
    return (await Promise.all(others.map((name) => readKnown(join(this.#domains, name, 'files.json'))))).flat();
  }

  /** Makes a piece of shared memory that is not there, and notes that it is ours: QEMU would take any that is. */
  async makeShared({ path }: Pick<DomainFile, 'path'>, user: QemuUser | undefined): Promise<void> {
    try {
      await using file = await open(path, 'wx', 0o600);
      if (user !== undefined) await file.chown(user.uid, user.gid);
      await mkdir(this.#shared, { recursive: true, mode: 0o700 });
      await writeFile(this.#noteOf(path), idOf(await file.stat()), { mode: 0o600 });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') {
        await rm(this.#noteOf(path), { force: true });
        throw error;
      }
    }
  }

  /** Whether a piece of shared memory was made by us. */
  async isOurs(path: string, id: string): Promise<boolean> {
    return (await readFile(this.#noteOf(path), 'utf8').catch(() => '')) === id;
  }

  #noteOf(path: string): string {
    return join(this.#shared, path.slice(path.lastIndexOf('/') + 1));
  }
}

async function readKnown(path: string): Promise<readonly KnownFile[]> {
  const text = await readFile(path, 'utf8').catch(() => '[]');
  const parsed = z.array(fileSchema).safeParse(jsonOf(text));
  return parsed.success ? parsed.data : [];
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
