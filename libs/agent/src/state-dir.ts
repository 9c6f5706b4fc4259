/** Tries the state directory before anything depends on it: what cannot be written durably there is found at start, not in a migration. */
import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { AgentError } from './errors.ts';

/** Journals, documents and logs of some hundred guests. */
const freeBytesMin = 16 * 2 ** 20;
const groupOrOthersWrite = 0o022;

/** Makes the directory if it is missing; writes, syncs and renames a file there. Throws AgentError config-invalid with what does not work. */
export async function tryStateDir(dir: string): Promise<void> {
  const refuse = (why: string, cause?: unknown): AgentError =>
    new AgentError('config-invalid', `FERRY_STATE_DIR ${dir} cannot be used: ${why}`, { cause });
  const file = join(dir, `.tried-${randomUUID()}`);
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const { uid, mode } = await stat(dir);
    const ours = process.geteuid?.() ?? uid;
    if (uid !== ours)
      throw refuse(`it belongs to user ${uid}, and this agent runs as ${ours}: give it to the agent's user`);
    if ((mode & groupOrOthersWrite) !== 0) throw refuse('its group or others may write there: chmod go-w');
    const { bavail, bsize } = await statfs(dir);
    if (bavail * bsize < freeBytesMin)
      throw refuse(`${bavail * bsize} bytes are free, ${freeBytesMin} are needed: make room`);
    await writeDurably(file, `${file}.new`, dir);
  } catch (error) {
    throw error instanceof AgentError ? error : refuse(error instanceof Error ? error.message : String(error), error);
  } finally {
    await Promise.all([file, `${file}.new`].map((name) => rm(name, { force: true }).catch(() => undefined)));
  }
}

/** As a journal is written. */
async function writeDurably(file: string, fresh: string, dir: string): Promise<void> {
  {
    await using written = await open(fresh, 'wx', 0o600);
    await written.writeFile('tried\n');
    await written.sync();
  }
  await rename(fresh, file);
  await using parent = await open(dir, 'r');
  await parent.sync();
}
