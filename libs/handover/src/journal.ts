/**
 * What one side must still know of a handover after a crash, when Redis has forgotten it as well: a small file, durable before the act that
 * it allows. One writer; written whole or not at all.
 */
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import { HandoverError } from './errors.ts';

/** One side's word. */
export interface HandoverEntry {
  readonly migrationId: string;
  readonly domain: string;
  readonly name: string;
  readonly protocol: 2 | 3;
  /** The guest's CPUs ran when it began. */
  readonly wasRunning: boolean;
  /** The life of the register that this side votes or commits under. */
  readonly incarnation: string;
  /** HOST:PORT of the other agent; empty if not known. */
  readonly peerAddress: string;
  /** The source is done with the register: it has asked the destination, or is about to, and trusts its word alone. */
  readonly asking: boolean;
  /** The destination has the source's vote: it has been said that the guest was stopped for good. */
  readonly voteSeen: boolean;
  /** The lives of the register under which this side will never commit. */
  readonly promised: readonly string[];
  readonly decision: 'committed' | 'aborted' | undefined;
  /** Nothing is left to do; kept to answer the other side. */
  readonly ended: boolean;
}

/** One migration's journal. */
export interface Journal {
  /**
   * Returns when the entry is durable; one that ends the migration may still be lost in a crash of the host, since what it says can be found
   * out again. Entries are written in the order of the calls.
   */
  write(entry: HandoverEntry): Promise<void>;
  /** The last entry; undefined if there is none. Throws HandoverError journal-damaged. */
  read(): Promise<HandoverEntry | undefined>;
}

/** All journals of one side on a host, by migration id. */
export interface Journals {
  of(migrationId: string): Journal;
  /** Forgets a journal's writer once the migration has ended; what was written stays. */
  release(migrationId: string): void;
  /** The migrations that had not ended in this host's life before. Throws HandoverError journal-damaged. */
  unfinished(): Promise<HandoverEntry[]>;
}

/** The journal of one migration and one side, at `path`. */
export class HandoverJournal implements Journal {
  readonly #path: string;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  write(entry: HandoverEntry): Promise<void> {
    const written = this.#writing
      .catch(() => undefined)
      .then(() => traced(() => writeWhole(this.#path, JSON.stringify(entry), !entry.ended)));
    this.#writing = written;
    return written;
  }

  async read(): Promise<HandoverEntry | undefined> {
    const text = await readFile(this.#path, 'utf8').catch(() => undefined);
    return text === undefined ? undefined : decodeEntry(text, this.#path);
  }

  async remove(): Promise<void> {
    await this.#writing.catch(() => undefined);
    await rm(this.#path, { force: true });
  }
}

/** How long an ended migration's word is kept for the other side. */
const keptMs = 24 * 60 * 60 * 1000;

/** Journals on this host's disk. */
export class HandoverJournals implements Journals {
  readonly #dir: string;
  readonly #journals = new Map<string, HandoverJournal>();

  /** `dir` is made when the first entry is written. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The journal of a migration; its id must be a UUID. */
  of(migrationId: string): HandoverJournal {
    const journal = this.#journals.get(migrationId) ?? new HandoverJournal(join(this.#dir, `${migrationId}.json`));
    this.#journals.set(migrationId, journal);
    return journal;
  }

  release(migrationId: string): void {
    this.#journals.delete(migrationId);
  }

  /** Removes what was kept long enough, too. */
  async unfinished(): Promise<HandoverEntry[]> {
    const names = (await readdir(this.#dir).catch(() => [])).filter((name) => name.endsWith('.json'));
    const entries: HandoverEntry[] = [];
    for (const name of names) {
      const journal = new HandoverJournal(join(this.#dir, name));
      const entry = await journal.read();
      if (entry?.ended === false) entries.push(entry);
      else if (Date.now() - (await stat(join(this.#dir, name))).mtimeMs > keptMs) await journal.remove();
    }
    return entries;
  }
}

const tracer = trace.getTracer('@ferry/handover');

/** A disk that is slow to sync shows in the trace. */
function traced(write: () => Promise<void>): Promise<void> {
  return tracer.startActiveSpan('journal write', async (span) => {
    try {
      await write();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** A new file beside the old one, synced, then renamed over it, then the directory synced: rename(2) alone may be lost in a crash. */
async function writeWhole(path: string, text: string, durable: boolean): Promise<void> {
  const fresh = `${path}.new`;
  await mkdir(dirname(path), { recursive: true });
  {
    await using file = await open(fresh, 'w', 0o600);
    await file.writeFile(text);
    if (durable) await file.sync();
  }
  await rename(fresh, path);
  if (!durable) return;
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
}

function decodeEntry(text: string, path: string): HandoverEntry {
  const damaged = (why: string, cause?: unknown): HandoverError =>
    new HandoverError(
      'journal-damaged',
      `${path} cannot be read (${why}): only the other host can tell now how the migration was decided`,
      cause === undefined ? undefined : { cause },
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged('it is no JSON', cause);
  }
  if (typeof value !== 'object' || value === null) throw damaged('it is no object');
  const entry: Record<string, unknown> = { ...value };
  const string = (name: string): string => {
    const field = entry[name];
    if (typeof field === 'string') return field;
    throw damaged(`${name} is missing`);
  };
  const { protocol, wasRunning, asking, voteSeen = false, promised, decision, ended } = entry;
  if (protocol !== 2 && protocol !== 3) throw damaged('protocol is wrong');
  if (typeof wasRunning !== 'boolean') throw damaged('wasRunning is wrong');
  if (typeof asking !== 'boolean') throw damaged('asking is wrong');
  if (typeof ended !== 'boolean') throw damaged('ended is wrong');
  if (typeof voteSeen !== 'boolean') throw damaged('voteSeen is wrong');
  if (!Array.isArray(promised) || !promised.every((each) => typeof each === 'string'))
    throw damaged('promised is wrong');
  if (decision !== undefined && decision !== 'committed' && decision !== 'aborted') throw damaged('decision is wrong');
  return {
    migrationId: string('migrationId'),
    domain: string('domain'),
    name: string('name'),
    protocol,
    wasRunning,
    incarnation: string('incarnation'),
    peerAddress: string('peerAddress'),
    asking,
    voteSeen,
    promised,
    decision,
    ended,
  };
}
