/** A program that a lab runs, detached and with its output in a file, so that it survives us where that is wanted. */
import { spawn } from 'node:child_process';
import type { LogFile } from './log-file.ts';
import { patience } from './patience.ts';
import { isRunning, type ProcessId, processOf, signalProcess, untilGone } from './processes.ts';

/** What to run. */
export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

const endMs = 10_000;

/** One life of a program. */
export class LabProcess {
  readonly name: string;
  readonly id: ProcessId;

  private constructor(name: string, id: ProcessId) {
    this.name = name;
    this.id = id;
  }

  /**
   * Starts a program in a session of its own, so that a Ctrl-C at our terminal reaches us alone and the order of the end is ours. `dir`
   * marks it as the lab's (see `processesOfLab`).
   */
  static async spawn(name: string, program: Program, dir: string, log: LogFile): Promise<LabProcess> {
    const child = log.opened((output) =>
      spawn(program.file, program.args, {
        cwd: program.cwd,
        env: { ...program.env, FERRY_LAB: dir },
        detached: true,
        stdio: ['ignore', output, output],
      }),
    );
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => reject(new Error(`cannot start ${name}: ${cause.message}`, { cause })));
    });
    child.unref();
    const id = processOf(child.pid ?? 0);
    if (id === undefined) throw new Error(`${name} ended at once; its log:\n${log.tail()}`);
    return new LabProcess(name, id);
  }

  get running(): boolean {
    return isRunning(this.id);
  }

  /** Sends a signal and does not wait: SIGSTOP, SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    signalProcess(this.id, signal);
  }

  /** Sends a signal that ends it and waits until it is gone; after `patienceMs` comes SIGKILL. */
  async end(signal: NodeJS.Signals, patienceMs = endMs): Promise<void> {
    this.signal(signal);
    await untilGone([this.id], AbortSignal.timeout(patienceMs)).catch(async () => {
      this.signal('SIGKILL');
      await untilGone([this.id], patience(endMs));
    });
  }
}
