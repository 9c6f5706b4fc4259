/**
 * What one side must still know of a handover after a crash, when Redis has forgotten it as well: a small file, durable before the act that
 * it allows. One writer; written whole or not at all.
 */
import { channel } from 'node:diagnostics_channel';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SpanStatusCode, trace } from '@opentelemetry/api';
import { readIfAny, syncDirectory, unlessMissing, writeWhole } from './durable-file.ts';
import { HandoverError } from './errors.ts';
import { damaged, decodeEntry, type HandoverEntry } from './journal-entry.ts';

/** One migration's journal. */
export interface Journal {
  /** Returns when the entry is durable. Entries are written in the order of the calls. */
  write(entry: HandoverEntry): Promise<void>;
  /**
   * The last entry; undefined if there is none. Throws HandoverError journal-unreadable: it may be readable later, and until then nothing is
   * known; journal-damaged: what it said is lost, until another entry is written.
   */
  read(): Promise<HandoverEntry | undefined>;
}

/** For who can go on without what the journal said. Throws HandoverError journal-unreadable. */
export async function readUnlessDamaged(journal: Journal): Promise<HandoverEntry | 'damaged' | undefined> {
  return journal.read().catch((error: unknown) => {
    if (error instanceof HandoverError && error.kind === 'journal-damaged') return 'damaged';
    throw error;
  });
}

/** What the journals of one side know. */
export interface Unfinished {
  /** The migrations that had not ended in this host's life before. */
  readonly entries: HandoverEntry[];
  /** Those whose journal is damaged or cannot be read: they may be any domain's, and may not have ended. */
  readonly unknown: { readonly migrationId: string; readonly error: HandoverError }[];
}

/** All journals of one side on a host, by migration id. */
export interface Journals {
  of(migrationId: string): Journal;
  /** Forgets a journal's writer once the migration has ended; what was written stays. */
  release(migrationId: string): void;
  /**
   * Ended ones are removed when they are old and `isKnown`, if it is given, does not know them: a clock that jumps must not take what is still needed. Throws
   * HandoverError journal-unreadable if the directory cannot be read, or what `isKnown` throws.
   */
  unfinished(isKnown?: (entry: HandoverEntry) => Promise<boolean>): Promise<Unfinished>;
}

/** The journal of one migration and one side, at `path`. */
export class HandoverJournal implements Journal {
  readonly #path: string;
  readonly #report: (error: HandoverError) => void;
  #writing: Promise<void> = Promise.resolve();

  /** `report` is told of a file that was set aside. */
  constructor(path: string, report: (error: HandoverError) => void = () => undefined) {
    this.#path = path;
    this.#report = report;
  }

  write(entry: HandoverEntry): Promise<void> {
    return this.#inOrder(() => traced(() => writeWhole(this.#path, JSON.stringify(entry))));
  }

  async read(): Promise<HandoverEntry | undefined> {
    try {
      return await this.#decode();
    } catch (error) {
      if (!(error instanceof HandoverError) || error.kind !== 'journal-damaged') throw error;
      await this.#inOrder(() => this.#setAside());
      // Another entry may have been written meanwhile.
      return this.#decode();
    }
  }

  /** Throws journal-damaged also where the file was set aside before. */
  async #decode(): Promise<HandoverEntry | undefined> {
    const text = await readIfAny(this.#path);
    if (text !== undefined) return decodeEntry(text, this.#path);
    const aside = asideOf(this.#path);
    if ((await readIfAny(aside)) === undefined) return undefined;
    throw damaged(aside, 'it was set aside');
  }

  /** What cannot be decoded is kept beside, for a person to look at. */
  async #setAside(): Promise<void> {
    const text = await readIfAny(this.#path);
    if (text === undefined) return;
    try {
      decodeEntry(text, this.#path);
    } catch (error) {
      await rename(this.#path, asideOf(this.#path));
      await syncDirectory(dirname(this.#path));
      if (error instanceof HandoverError) this.#report(error);
    }
  }

  async remove(): Promise<void> {
    await this.#inOrder(async () => {
      await rm(this.#path, { force: true });
      await rm(asideOf(this.#path), { force: true });
    });
  }

  #inOrder(act: () => Promise<void>): Promise<void> {
    const done = this.#writing.catch(() => undefined).then(act);
    this.#writing = done;
    return done;
  }
}

/** How long an ended migration's word is kept for the other side: as long as its record in Redis. */
const keptMs = 7 * 24 * 60 * 60 * 1000;

/** Journals on this host's disk. */
export class HandoverJournals implements Journals {
  readonly #dir: string;
  readonly #report: (error: HandoverError) => void;
  readonly #journals = new Map<string, HandoverJournal>();

  /** `dir` is made when the first entry is written; `report` is told of each file that is damaged and was set aside. */
  constructor(dir: string, report: (error: HandoverError) => void) {
    this.#dir = dir;
    this.#report = report;
  }

  /** The journal of a migration; its id must be a UUID. */
  of(migrationId: string): HandoverJournal {
    const path = join(this.#dir, `${migrationId}.json`);
    const journal = this.#journals.get(migrationId) ?? new HandoverJournal(path, this.#report);
    this.#journals.set(migrationId, journal);
    return journal;
  }

  release(migrationId: string): void {
    this.#journals.delete(migrationId);
  }

  async unfinished(
    isKnown: (entry: HandoverEntry) => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<Unfinished> {
    const found: Unfinished = { entries: [], unknown: [] };
    for (const migrationId of await this.#ids()) {
      const path = join(this.#dir, `${migrationId}.json`);
      const journal = this.#journals.get(migrationId) ?? new HandoverJournal(path, this.#report);
      try {
        const entry = await journal.read();
        if (entry?.ended === false) found.entries.push(entry);
        else if (entry !== undefined && (await isOld(path)) && !(await isKnown(entry))) await journal.remove();
      } catch (error) {
        if (!(error instanceof HandoverError)) throw error;
        found.unknown.push({ migrationId, error });
      }
    }
    return found;
  }

  async #ids(): Promise<Set<string>> {
    const names = await unlessMissing(this.#dir, () => readdir(this.#dir));
    return new Set(
      (names ?? []).map((name) => /^(.+)\.json(\.damaged)?$/.exec(name)?.[1]).filter((id) => id !== undefined),
    );
  }
}

const isOld = async (path: string): Promise<boolean> => Date.now() - (await stat(path)).mtimeMs > keptMs;

const asideOf = (path: string): string => `${path}.damaged`;

const tracer = trace.getTracer('@ferry/handover');

/** The diagnostics channel on which each write of a journal is told when it is over: how long it took in seconds, and the kind of error if it failed. */
export const journalWrites = 'ferry.journal.write';
const over = channel(journalWrites);

/** A disk that is slow to sync shows in the trace. */
function traced(write: () => Promise<void>): Promise<void> {
  return tracer.startActiveSpan('journal write', async (span) => {
    const startedMs = performance.now();
    let kind: string | undefined;
    try {
      await write();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(error) });
      kind = error instanceof HandoverError ? error.kind : 'cancelled';
      throw error;
    } finally {
      span.end();
      const seconds = (performance.now() - startedMs) / 1_000;
      if (over.hasSubscribers) over.publish({ name: 'write', seconds, error: kind });
    }
  });
}
