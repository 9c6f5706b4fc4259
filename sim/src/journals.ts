/** The agents' journals on a disk that survives them. */
import { type HandoverEntry, HandoverError, type Journal, type Journals, type Unfinished } from '@ferry/handover';
import type { Life } from './timeline.ts';
import type { World } from './world.ts';

/** One side's disk: what is durable now. */
export class Disk extends Map<string, HandoverEntry> {
  /** Set by a fault: what is written is there, and cannot be read. */
  readable = true;
}

const unreadable = (): HandoverError => new HandoverError('journal-unreadable', 'EIO: i/o error, read');

/** The journals as one life of an agent has them. A crash in the middle of a write leaves the old entry or the new one. */
export class SimJournals implements Journals {
  readonly #world: World;
  readonly #life: Life;
  readonly #disk: Disk;
  readonly #writing = new Map<string, Promise<void>>();

  constructor(world: World, life: Life, disk: Disk) {
    this.#world = world;
    this.#life = life;
    this.#disk = disk;
  }

  of(migrationId: string): Journal {
    return {
      write: (entry) => {
        const before = this.#writing.get(migrationId) ?? Promise.resolve();
        const written = before
          .catch(() => undefined)
          .then(() => this.#write({ ...entry, promised: [...entry.promised] }));
        this.#writing.set(migrationId, written);
        return written;
      },
      read: () =>
        this.#world.act(this.#life, 'journal read', () => {
          if (!this.#disk.readable) throw unreadable();
          return this.#disk.get(migrationId);
        }),
    };
  }

  release(migrationId: string): void {
    this.#writing.delete(migrationId);
  }

  unfinished(): Promise<Unfinished> {
    return this.#world.act(this.#life, 'journal list', () => {
      if (!this.#disk.readable)
        return {
          entries: [],
          unknown: [...this.#disk.keys()].map((migrationId) => ({ migrationId, error: unreadable() })),
        };
      const entries = [...this.#disk.values()].filter((entry) => !entry.ended);
      return { entries, unknown: [] };
    });
  }

  #write(entry: HandoverEntry): Promise<void> {
    const world = this.#world;
    return world.act(this.#life, `journal write ${entry.decision ?? '-'}${entry.ended ? ' ended' : ''}`, () => {
      world.rules.journal(this.#life, this.#disk, entry);
      this.#disk.set(entry.migrationId, entry);
    });
  }
}
