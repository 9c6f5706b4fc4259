/** The other contender: a QEMU driven by a few lines of QMP, without anything of Ferry's between the socket and the decision. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

interface Message {
  readonly [key: string]: unknown;
  readonly id?: unknown;
  readonly event?: unknown;
  readonly data?: { readonly status?: unknown };
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number };
}

/** What came, or shall come, in one kind of message. */
interface Wanted {
  readonly matches: (message: Message) => boolean;
  readonly found: (message: Message) => void;
  readonly failed: (reason: unknown) => void;
}

let sockets = 0;

/** A running QEMU. It is killed when disposed of, if it has not ended by then. */
export class RawQemu implements AsyncDisposable {
  /** Settles when the process is gone. */
  readonly ended: Promise<unknown>;
  readonly #process: ChildProcess;
  readonly #qmp: Socket;
  readonly #events: Message[] = [];
  readonly #wanted = new Set<Wanted>();
  /** Why nothing comes any more. */
  #failure: unknown;
  #commands = 0;

  private constructor(process: ChildProcess, ended: Promise<unknown>, qmp: Socket, signal: AbortSignal) {
    this.#process = process;
    this.ended = ended;
    this.#qmp = qmp;
    let rest = '';
    qmp.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#receive(JSON.parse(line) as Message);
    });
    qmp.on('error', () => undefined);
    // It comes after all that QEMU has said, which the end of its process may not.
    qmp.once('close', () => this.#fail(new Error('QEMU has ended')));
    signal.addEventListener('abort', () => this.#fail(signal.reason), { once: true });
  }

  /** Starts a QEMU that connects to us, which is the fastest way to a monitor. `dir` is the lab's, whose end is the QEMU's too. */
  static async launch(binary: string, args: readonly string[], dir: string, signal: AbortSignal): Promise<RawQemu> {
    sockets += 1;
    const path = `${dir}/bench-${sockets}.sock`;
    const server = createServer().listen(path);
    const monitor = ['-chardev', `socket,id=bench,path=${path},server=off`, '-mon', 'chardev=bench,mode=control'];
    const env = { ...process.env, FERRY_LAB: dir };
    const child = spawn(binary, [...monitor, ...args], { stdio: ['ignore', 'inherit', 'inherit'], env });
    const ended = once(child, 'exit');
    try {
      const early = ended.then(() => Promise.reject(new Error('QEMU ended at its start')));
      early.catch(() => undefined);
      const [qmp] = (await Promise.race([once(server, 'connection', { signal }), early])) as [Socket];
      return new RawQemu(child, ended, qmp, signal);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    } finally {
      server.close();
    }
  }

  /** Sends a command at once and waits for its answer. */
  async execute(command: string, args: object = {}): Promise<Message> {
    this.#commands += 1;
    const id = this.#commands;
    const answered = this.#next((message) => message.id === id);
    this.#qmp.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    const answer = await answered;
    if ('return' in answer) return answer['return'] as Message;
    throw new Error(`QEMU refused ${command}: ${JSON.stringify(answer)}`);
  }

  /** When an event came, also if it is long ago, or else comes: µs since 1970 by QEMU's clock. Of MIGRATION events the one with that status. */
  async when(event: string, status?: string): Promise<number> {
    const matches = (message: Message): boolean =>
      message.event === event && (status === undefined || message.data?.status === status);
    const { timestamp } = this.#events.find(matches) ?? (await this.#next(matches));
    return (timestamp?.seconds ?? Number.NaN) * 1e6 + (timestamp?.microseconds ?? Number.NaN);
  }

  #receive(message: Message): void {
    if (message.event !== undefined) this.#events.push(message);
    for (const wanted of this.#wanted) {
      if (!wanted.matches(message)) continue;
      this.#wanted.delete(wanted);
      wanted.found(message);
    }
  }

  /** The first message from now on that matches. Throws when QEMU ends first, or the signal's reason. */
  #next(matches: (message: Message) => boolean): Promise<Message> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const { promise, resolve, reject } = Promise.withResolvers<Message>();
    this.#wanted.add({ matches, found: resolve, failed: reject });
    return promise;
  }

  #fail(reason: unknown): void {
    this.#failure ??= reason;
    for (const { failed } of this.#wanted) failed(reason);
    this.#wanted.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode === null && signalCode === null) this.#process.kill('SIGKILL');
    await this.ended;
    this.#qmp.destroy();
  }
}
