/** A log that a process of the lab writes: it outlives both the process and us, which a pipe would not. */
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** Lines of JSON and, when something goes wrong early, of plain text. */
export class LogFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Calls `use` with a descriptor that appends to the file, for a child's stdout and stderr. */
  opened<T>(use: (descriptor: number) => T): T {
    const descriptor = openSync(this.path, 'a', 0o600);
    try {
      return use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  /** The file's length in bytes: what is written from now on comes after it. */
  get size(): number {
    return statSync(this.path, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Complete lines written after the first `from` bytes. */
  lines(from = 0): string[] {
    if (this.size <= from) return [];
    const text = readFileSync(this.path).subarray(from).toString('utf8');
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .slice(0, -1);
  }

  /** Those of the lines that are JSON objects, as pino writes them. */
  records(from = 0): Record<string, unknown>[] {
    return this.lines(from).flatMap((line) => {
      const record = parseObject(line);
      return record === undefined ? [] : [record];
    });
  }

  /** The last `lines` lines, for a message about what went wrong. */
  tail(lines = 20): string {
    return this.lines().slice(-lines).join('\n');
  }

  /**
   * Waits until `find` finds something in the lines after the first `from` bytes. Ends with undefined when `ended` says that nothing more
   * will be written; throws `signal.reason`.
   */
  async until<T>(
    find: (lines: string[]) => T | undefined,
    from: number,
    ended: () => boolean,
    signal: AbortSignal,
  ): Promise<T | undefined> {
    for (;;) {
      signal.throwIfAborted();
      // Asked before reading: what was written before the end is still seen.
      const last = ended();
      const found = find(this.lines(from));
      if (found !== undefined || last) return found;
      await delay(10);
    }
  }
}

/** The object in a line of JSON, or undefined if it is something else. */
export function parseObject(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
