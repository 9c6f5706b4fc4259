/** Follows a tiny guest's output as it is written to a file. */
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type TickArrival, TickReader } from '@ferry/guest';

const lookEveryMs = 2;
const chunkBytes = 64 * 1024;

/** Reads until it is disposed of; what came, and when each tick did. */
export class TickTail implements AsyncDisposable {
  readonly arrivals: TickArrival[] = [];
  #output = '';
  readonly #file: FileHandle;
  readonly #reader = new TickReader();
  readonly #over = new AbortController();
  readonly #reading: Promise<void>;

  private constructor(file: FileHandle) {
    this.#file = file;
    this.#reading = this.#read();
  }

  /** Creates the file if the guest has not yet. */
  static async open(path: string): Promise<TickTail> {
    return new TickTail(await open(path, 'a+', 0o600));
  }

  /** Everything that the guest has written. */
  get output(): string {
    return this.#output;
  }

  /** The line that announced a tick. */
  line(tick: number): string | undefined {
    const start = `T ${String(tick).padStart(8, '0')} `;
    return this.#output.split('\n').find((line) => line.startsWith(start));
  }

  /** Waits until so many ticks have come. */
  async until(ticks: number, signal: AbortSignal): Promise<void> {
    while (this.arrivals.length < ticks) {
      signal.throwIfAborted();
      await delay(lookEveryMs);
    }
  }

  async #read(): Promise<void> {
    const buffer = Buffer.alloc(chunkBytes);
    let position = 0;
    while (!this.#over.signal.aborted) {
      const { bytesRead } = await this.#file.read(buffer, 0, chunkBytes, position);
      if (bytesRead === 0) {
        // inotify would tell as late as this does, and needs the same read.
        await delay(lookEveryMs);
        continue;
      }
      position += bytesRead;
      const piece = buffer.toString('latin1', 0, bytesRead);
      this.#output += piece;
      this.arrivals.push(...this.#reader.take(piece, (performance.timeOrigin + performance.now()) * 1_000));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#reading;
    await this.#file.close();
  }
}
