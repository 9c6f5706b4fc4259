/** An agent as a real process, as a service manager would run it. */
import { givenUp } from './given-up.ts';
import { LabProcess, type Program } from './lab-process.ts';
import { type LogFile, parseObject } from './log-file.ts';
import { patience } from './patience.ts';

/** Which of a host's two agents. */
export type Side = 'source' | 'dest';

/** What an agent is started with. */
export interface AgentSettings {
  readonly host: string;
  readonly side: Side;
  /** The lab's directory. */
  readonly dir: string;
  readonly program: Program;
  readonly log: LogFile;
}

const startMs = 60_000;

/** One agent over all its lives; its address stays the same. */
export class AgentProcess {
  readonly host: string;
  readonly side: Side;
  readonly log: LogFile;
  readonly #settings: AgentSettings;
  #env: Readonly<Record<string, string>>;
  #process: LabProcess | undefined;
  #lifeBegins = 0;
  #address: string | undefined;

  constructor(settings: AgentSettings) {
    this.host = settings.host;
    this.side = settings.side;
    this.log = settings.log;
    this.#settings = settings;
    this.#env = settings.program.env;
  }

  /** `a's source agent`, for messages. */
  get name(): string {
    return `${this.host}'s ${this.side} agent`;
  }

  /** HOST:PORT where it serves; throws before it has served for the first time. */
  get address(): string {
    if (this.#address === undefined) throw new Error(`${this.name} has not served yet; its log:\n${this.log.tail()}`);
    return this.#address;
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.#process?.running === true ? this.#process.id.pid : undefined;
  }

  /** Starts it without waiting. `env` is added to its environment, from this life on. */
  async launch(env: Readonly<Record<string, string>> = {}): Promise<void> {
    if (this.#process?.running === true) throw new Error(`${this.name} runs already`);
    this.#env = { ...this.#env, ...env };
    this.#lifeBegins = this.log.size;
    const program = { ...this.#settings.program, env: this.#env };
    this.#process = await LabProcess.spawn(this.name, program, this.#settings.dir, this.log);
  }

  /** Waits until this life logs that it serves; throws with the log's tail if it ends before. */
  async untilServing(signal: AbortSignal = patience(startMs)): Promise<void> {
    this.#address = await this.untilLogged(servingAddress, signal);
  }

  /** Called when a new life serves: connections to the one before are of no use. */
  onServing: (() => void) | undefined;

  /** Starts it and waits until it serves. */
  async start(env: Readonly<Record<string, string>> = {}, signal?: AbortSignal): Promise<void> {
    await this.launch(env);
    await this.untilServing(signal);
    this.onServing?.();
  }

  /** Waits until `find` finds something in a log record of this life; throws with the log's tail if the agent ends before. */
  async untilLogged<T>(
    find: (record: Record<string, unknown>) => T | undefined,
    signal: AbortSignal = patience(startMs),
  ): Promise<T> {
    const life = this.#process;
    const ended = () => life?.running !== true;
    const inLines = (lines: string[]) => {
      for (const line of lines) {
        const record = parseObject(line);
        const found = record === undefined ? undefined : find(record);
        if (found !== undefined) return found;
      }
      return undefined;
    };
    const found = await this.log.until(inLines, this.#lifeBegins, ended, signal).catch((cause: unknown) => {
      if (givenUp(signal)) throw signal.reason;
      throw new Error(`${this.name} did not get that far in time; its log:\n${this.log.tail()}`, { cause });
    });
    if (found === undefined) throw new Error(`${this.name} ended; its log:\n${this.log.tail()}`);
    return found;
  }

  /** SIGKILL unless told otherwise; waits until it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL', patienceMs?: number): Promise<void> {
    await this.#process?.end(signal, patienceMs);
  }

  /** SIGSTOP makes it hang, SIGCONT lets it go on; does not wait. */
  signal(signal: NodeJS.Signals): void {
    this.#process?.signal(signal);
  }

  /** Ends it with SIGTERM (or the signal given), starts it and waits until it serves, at the same address. */
  async restart(options: { signal?: NodeJS.Signals; env?: Readonly<Record<string, string>> } = {}): Promise<void> {
    await this.kill(options.signal ?? 'SIGTERM');
    await this.start(options.env);
  }

  /** Its log records, of this life or of all. */
  logs(which: 'this-life' | 'all' = 'all'): Record<string, unknown>[] {
    return this.log.records(which === 'all' ? 0 : this.#lifeBegins);
  }
}

function servingAddress(record: Record<string, unknown>): string | undefined {
  const { msg, address } = record;
  return msg === 'serving' && typeof address === 'string' ? address : undefined;
}
