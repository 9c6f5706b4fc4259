/** Starts a lab's reaper and ends it again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { patience } from './patience.ts';
import { processOf, untilGone } from './processes.ts';

const endMs = 30_000;

/** Holds the pipe whose end tells the reaper that the lab's maker is gone. */
export class Guard {
  readonly #reaper: ChildProcess;

  private constructor(reaper: ChildProcess) {
    this.#reaper = reaper;
  }

  /** Guards the lab in `dir`, which need not exist yet. */
  static async start(dir: string): Promise<Guard> {
    const reaper = spawn(process.execPath, [join(import.meta.dirname, 'reaper.ts'), dir], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: process.env['PATH'] ?? '', TMPDIR: process.env['TMPDIR'] ?? '/tmp' },
    });
    await once(reaper, 'spawn');
    reaper.stdin?.on('error', () => undefined);
    reaper.unref();
    return new Guard(reaper);
  }

  /** The lab outlives us. */
  async release(): Promise<void> {
    this.#reaper.stdin?.write('x');
    await this.end();
  }

  /** Closes the pipe and waits until the reaper has ended whatever was left. */
  async end(): Promise<void> {
    const id = processOf(this.#reaper.pid ?? 0);
    this.#reaper.stdin?.end();
    if (id !== undefined) await untilGone([id], patience(endMs));
  }
}
