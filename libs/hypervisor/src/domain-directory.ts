/**
 * What a host knows of its domains on disk: one directory a domain, so that both agents, and an agent that was restarted, find the same
 * QEMUs. `domain.json` is written before QEMU is started, `qemu.json` when it has a pid.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, type Stats, statSync } from 'node:fs';
import {
  appendFile,
  lchown,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf } from './errno.ts';
import { HypervisorError } from './errors.ts';
import type { QemuUser } from './confinement.ts';
import { makeOwn, makePassage } from './qemu-user.ts';
import { type ProcessIdentity, processOfPidFile } from './qemu-process.ts';

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
export const isUuid = (text: string): boolean => uuidPattern.test(text);

const definitionSchema = z.object({
  uuid: z.string().regex(uuidPattern),
  name: z.string().min(1).max(256),
  /** The migration that this QEMU was started to take in; absent for a guest that was started or adopted here. */
  incoming: z.string().optional(),
  /** Start has not ended yet: where the agent ended in it, this guest was never started. */
  starting: z.literal(true).optional(),
  /** The monitor of a QEMU that somebody else started. */
  adoptedMonitor: z.string().optional(),
});
export type Definition = z.infer<typeof definitionSchema>;

const processSchema = z.object({
  pid: z.number().int().positive(),
  startTime: z.string(),
  /** Start times count from the boot of the host. */
  boot: z.string().optional(),
});

const stoppedSchema = z.object({ runState: z.string() });

let boot: string | undefined;
/** The boot of this host, proc(5): the same as long as this process lives. */
const bootId = (): string => (boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim());

/** One domain's place. */
export interface DomainPaths {
  readonly dir: string;
  /** Where QEMU and swtpm make their sockets and pid files: a directory of their user's own, where they have one. */
  readonly run: string;
  readonly xml: string;
  readonly log: string;
  readonly pidFile: string;
  monitor(side: 'source' | 'dest'): string;
  /** What the guest's TPM keeps; it outlives the rest. */
  readonly tpmState: string;
}

/** What is kept of the log of a QEMU that ended by itself, and of how many domains. */
const keptLogBytes = 64 * 1024;
const keptLogsMax = 100;
/** A log that has grown beyond this is cut to its last `keptLogBytes`: the guest makes QEMU write it. */
const logBytesMax = 4 * 2 ** 20;

/** How the directories begin that are being removed. */
const removed = '.removed-';

const isMissing = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '');

/** A file that is always replaced as a whole, so that these three say whether it is the one that was read. */
const versionOf = ({ ino, mtimeMs, size }: Stats): string => `${ino} ${mtimeMs} ${size}`;

/** What was read of a domain's files, until they are replaced: they are looked at for every call, of every domain. */
const known = new Map<string, { readonly version: string; readonly value: unknown }>();

/** Read without a turn of the event loop: these files have a few hundred bytes, and a thread pool's answer takes ten times as long. */
function readJson<T>(path: string, schema: z.ZodType<T>): T | undefined {
  let text: string;
  let version: string;
  try {
    version = versionOf(statSync(path));
    const before = known.get(path);
    // A path is always read by the same schema.
    if (before?.version === version) return before.value as T;
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (!isMissing(error)) throw error;
    known.delete(path);
    return undefined;
  }
  try {
    const value = schema.parse(JSON.parse(text));
    known.set(path, { version, value });
    return value;
  } catch (cause) {
    throw new HypervisorError(
      'state-unreadable',
      `${path} is damaged: look at it, and remove its directory if no QEMU runs from it`,
      { cause },
    );
  }
}

async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

function unwritable(path: string, cause: unknown): HypervisorError {
  const message = `${path} cannot be written (${String(cause)}): make room on the state directory’s file system, or mend it`;
  return new HypervisorError('state-unwritable', message, { cause });
}

/** The end of a log; nothing of one that cannot be read. */
async function tailOf(path: string): Promise<Buffer> {
  try {
    await using log = await open(path, 'r');
    const { size } = await log.stat();
    const bytes = Math.min(size, keptLogBytes);
    const { buffer, bytesRead } = await log.read(Buffer.alloc(bytes), 0, bytes, size - bytes);
    return buffer.subarray(0, bytesRead);
  } catch {
    return Buffer.alloc(0);
  }
}

export class DomainDirectory {
  readonly #root: string;
  readonly #tpms: string;
  readonly #user: QemuUser | undefined;
  readonly #stateDir: string;
  readonly #logs: string;

  /** `user` is whom QEMU runs as, if not as the agent's own user. */
  constructor(stateDir: string, user?: QemuUser) {
    this.#user = user;
    this.#stateDir = stateDir;
    this.#root = join(stateDir, 'domains');
    this.#tpms = join(stateDir, 'tpms');
    this.#logs = join(stateDir, 'logs');
  }

  paths(uuid: string): DomainPaths {
    const dir = join(this.#root, uuid);
    // One that was started before the host's configuration named a user has none.
    const own = join(dir, 'run');
    const run = existsSync(own) ? own : dir;
    return {
      dir,
      run,
      xml: join(dir, 'domain.xml'),
      log: join(dir, 'qemu.log'),
      pidFile: join(run, 'qemu.pid'),
      monitor: (side) => join(run, `${side}.sock`),
      tpmState: join(this.#tpms, uuid),
    };
  }

  /** The UUIDs that have a directory. */
  async uuids(): Promise<string[]> {
    try {
      return (await readdir(this.#root)).filter((name) => uuidPattern.test(name));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  has(uuid: string): Promise<boolean> {
    return stat(this.paths(uuid).dir).then(
      () => true,
      () => false,
    );
  }

  /** Makes a domain's directory, or nothing. Throws domain-exists if there is one: of two that try at once, one fails; state-unwritable. */
  async create(definition: Definition, xml: string): Promise<DomainPaths> {
    const paths = this.paths(definition.uuid);
    try {
      await mkdir(this.#root, { recursive: true, mode: 0o700 });
      await mkdir(paths.dir, { mode: 0o700 });
      if (this.#user !== undefined && definition.adoptedMonitor === undefined)
        await this.#makeRun(paths.dir, this.#user);
    } catch (cause) {
      if (errnoOf(cause) !== 'EEXIST' || !(await this.has(definition.uuid))) throw unwritable(paths.dir, cause);
      throw new HypervisorError(
        'domain-exists',
        `domain ${definition.name} (${definition.uuid}) has a place on this host already: ${paths.dir}`,
        { cause },
      );
    }
    try {
      await writeWhole(paths.xml, xml);
      await writeWhole(join(paths.dir, 'domain.json'), JSON.stringify(definition));
    } catch (cause) {
      await rm(paths.dir, { recursive: true, force: true });
      throw unwritable(paths.dir, cause);
    }
    return this.paths(definition.uuid);
  }

  async #makeRun(dir: string, user: QemuUser): Promise<void> {
    for (const passage of [this.#stateDir, this.#root, dir]) await makePassage(passage);
    await makeOwn(join(dir, 'run'), user);
  }

  definition(uuid: string): Definition | undefined {
    return readJson(join(this.paths(uuid).dir, 'domain.json'), definitionSchema);
  }

  /** Replaces what is known of a domain, e.g. when it is no longer incoming. */
  redefine(definition: Definition): Promise<void> {
    return writeWhole(join(this.paths(definition.uuid).dir, 'domain.json'), JSON.stringify(definition));
  }

  /** Changes whenever the domain's document does. */
  async xmlVersion(uuid: string): Promise<string> {
    return versionOf(await stat(this.paths(uuid).xml));
  }

  /** Changes when the domain's directory is created again; undefined if there is none. Read synchronously, as `process` is. */
  placeVersion(uuid: string): string | undefined {
    const stats = statSync(this.paths(uuid).xml, { throwIfNoEntry: false });
    return stats && versionOf(stats);
  }

  /** Throws domain-not-found: it may end, or leave, while a call is about it. */
  async xml(uuid: string): Promise<string> {
    try {
      return await readFile(this.paths(uuid).xml, 'utf8');
    } catch (cause) {
      if (!isMissing(cause)) throw cause;
      throw new HypervisorError('domain-not-found', `domain ${uuid} is not on this host any more`, { cause });
    }
  }

  recordProcess(uuid: string, process: ProcessIdentity): Promise<void> {
    return writeWhole(join(this.paths(uuid).dir, 'qemu.json'), JSON.stringify({ ...process, boot: bootId() }));
  }

  /** The run state that a guest had, and did not run in, when it was sent: QEMU forgets it (`postmigrate`). */
  noteStopped(uuid: string, runState: string): Promise<void> {
    return writeWhole(join(this.paths(uuid).dir, 'stopped.json'), JSON.stringify({ runState }));
  }

  /** Undefined for a guest that was not sent so. */
  stoppedAs(uuid: string): string | undefined {
    return readJson(join(this.paths(uuid).dir, 'stopped.json'), stoppedSchema)?.runState;
  }

  /** The QEMU that was noted down. One of before the host's last boot is no process of now. */
  process(uuid: string): ProcessIdentity | undefined {
    const noted = readJson(join(this.paths(uuid).dir, 'qemu.json'), processSchema);
    if (noted === undefined) return undefined;
    const { pid, startTime, boot: notedIn } = noted;
    return { pid, startTime: notedIn === undefined || notedIn === bootId() ? startTime : '' };
  }

  /**
   * The QEMU by the pid that it wrote itself, for an agent that died between starting it and writing down that it did. The file outlives QEMU and the
   * host's boot, so it is believed only if that process was started with it.
   */
  async qemuByPidFile(uuid: string): Promise<ProcessIdentity | undefined> {
    const { pidFile } = this.paths(uuid);
    try {
      return await processOfPidFile(pidFile, ['-pidfile', pidFile]);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** Milliseconds since the directory was made or last changed. */
  async ageMs(uuid: string): Promise<number> {
    try {
      return Date.now() - (await stat(this.paths(uuid).dir)).mtimeMs;
    } catch {
      return 0;
    }
  }

  /** The last lines that QEMU wrote, at most 2 kB, for an error's message. */
  async logTail(uuid: string): Promise<string> {
    return (await tailOf(this.paths(uuid).log)).toString('utf8').slice(-2048).trim();
  }

  /** Keeps the end of a domain's log beyond its directory, the last of each domain, of so many domains. */
  async keepLog(uuid: string): Promise<void> {
    const tail = await tailOf(this.paths(uuid).log);
    if (tail.length === 0) return;
    await mkdir(this.#logs, { recursive: true, mode: 0o700 });
    await writeFile(join(this.#logs, `${uuid}.log`), tail, { mode: 0o600 });
    const kept = (await readdir(this.#logs)).map((name) => join(this.#logs, name));
    if (kept.length <= keptLogsMax) return;
    const ages = await Promise.all(kept.map(async (path) => ({ path, atMs: (await stat(path)).mtimeMs })));
    const oldest = ages.toSorted((a, b) => a.atMs - b.atMs).slice(0, kept.length - keptLogsMax);
    await Promise.all(oldest.map(({ path }) => rm(path, { force: true })));
  }

  /** Cuts a log that has grown too long to its end. QEMU appends, so it goes on behind that; what it writes in this moment is lost. */
  async trimLog(uuid: string): Promise<void> {
    const path = this.paths(uuid).log;
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    if (size <= logBytesMax) return;
    const tail = await tailOf(path);
    await truncate(path, 0);
    await appendFile(path, tail);
  }

  /** What is removed belongs to the agent's user alone by then: a name in it could lead elsewhere by then. */
  async #takeBack(own: string): Promise<void> {
    const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
    if (uid === undefined || gid === undefined) return;
    await lchown(own, uid, gid).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }

  /** Removed at once or not at all; what a crash leaves of it is nobody's place, and goes with the next one that is removed. */
  async remove(uuid: string): Promise<void> {
    await rename(this.paths(uuid).dir, join(this.#root, `${removed}${randomUUID()}`)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    const names = await readdir(this.#root).catch(() => []);
    const left = names.filter((name) => name.startsWith(removed));
    await Promise.all(
      left.map(async (name) => {
        await this.#takeBack(join(this.#root, name, 'run'));
        await rm(join(this.#root, name), { recursive: true, force: true });
      }),
    );
  }
}
