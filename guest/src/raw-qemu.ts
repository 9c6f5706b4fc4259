import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { configText, type GuestConfig } from './config.ts';
import { type TickArrival, TickReader } from './ticks.ts';

/** How this package's tests run the guest: a QEMU driven by a few lines of QMP, without the rest of Ferry. */
export interface RawQemuOptions {
  readonly rom: string;
  /** A directory of its own for its sockets. */
  readonly directory: string;
  readonly name: string;
  readonly config: GuestConfig;
  readonly memoryMiB: number;
  readonly machine?: string;
  /** Waits for a migration at this UNIX socket. */
  readonly incoming?: string;
}

type Message = Record<string, unknown>;

/** A QEMU with the guest, stopped until `cont`. It is killed when disposed of. */
export class RawQemu implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #servers: readonly Server[];
  readonly #qmp: Socket;
  readonly #messages: Message[] = [];
  readonly #waiting = new Set<() => void>();
  /** All serial output so far. */
  output = '';
  /** Every tick with the time it came, in µs of this process's clock. */
  readonly arrivals: TickArrival[] = [];

  private constructor(process: ChildProcess, servers: readonly Server[], qmp: Socket, serial: Socket) {
    this.#process = process;
    this.#servers = servers;
    this.#qmp = qmp;
    const lines = createInterface(qmp).on('line', (line) => {
      this.#messages.push(JSON.parse(line) as Message);
      this.#changed();
    });
    // A QEMU that is killed with something unread resets its connections; that it has ended is seen by its exit.
    // An interface emits its stream's errors once more.
    for (const source of [qmp, lines, serial]) source.on('error', () => undefined);
    const reader = new TickReader();
    serial.setEncoding('latin1').on('data', (text: string) => {
      this.output += text;
      this.arrivals.push(...reader.take(text, performance.now() * 1000));
      this.#changed();
    });
    process.once('exit', () => this.#changed());
  }

  static async start(options: RawQemuOptions): Promise<RawQemu> {
    const { directory, name, machine = 'pc-q35-7.2', incoming } = options;
    // QEMU connects to us: nothing it says can come too early.
    const path = (use: string) => join(directory, `${name}.${use}`);
    const [qmpServer, serialServer] = [createServer(), createServer()];
    qmpServer.listen(path('qmp'));
    serialServer.listen(path('serial'));
    const connected = Promise.all([once(qmpServer, 'connection'), once(serialServer, 'connection')]);
    const flags = '-accel tcg -nodefaults -no-user-config -display none -S'.split(' ');
    flags.push('-machine', machine, '-m', `${options.memoryMiB}`, '-bios', options.rom);
    flags.push('-fw_cfg', `name=opt/ferry.guest,string=${configText(options.config)}`);
    flags.push('-qmp', `unix:${path('qmp')}`, '-serial', `unix:${path('serial')}`);
    if (incoming !== undefined) flags.push('-incoming', `unix:${incoming}`);
    const process = spawn('qemu-system-x86_64', flags, {
      stdio: ['ignore', 'inherit', 'inherit'],
      // Every wait ends with QEMU, and QEMU ends before its test would be given up.
      timeout: 50_000,
      killSignal: 'SIGKILL',
    });
    const died = once(process, 'exit').then(() => Promise.reject(new Error(`${name}: QEMU ended at its start`)));
    const [[qmp], [serial]] = (await Promise.race([connected, died])) as [[Socket], [Socket]];
    died.catch(() => {});
    const qemu = new RawQemu(process, [qmpServer, serialServer], qmp, serial);
    await qemu.execute('qmp_capabilities');
    await qemu.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    return qemu;
  }

  async execute(command: string, args: object = {}): Promise<unknown> {
    const id = `${command} ${performance.now()}`;
    this.#qmp.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    const reply = await this.until(() => this.#messages.find((message) => message['id'] === id));
    if ('error' in reply) throw new Error(`${command}: ${JSON.stringify(reply['error'])}`);
    return reply['return'];
  }

  /** Waits until the migration has reached a status; throws if it fails before. */
  async migrated(status: string): Promise<void> {
    await this.until(() => {
      for (const { event, data } of this.#messages) {
        if (event !== 'MIGRATION') continue;
        const now = (data as Message)['status'];
        if (now === 'failed') throw new Error('the migration failed');
        if (now === status) return true;
      }
      return undefined;
    });
  }

  /** Waits for a tick. */
  async ticked(tick: number): Promise<void> {
    await this.until(() => ((this.arrivals.at(-1)?.tick ?? 0) >= tick ? true : undefined));
  }

  /** Waits until something can be found in what QEMU has said. */
  async until<T>(find: () => T | undefined): Promise<T> {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (this.#process.exitCode !== null || this.#process.signalCode !== null) throw new Error('QEMU has ended');
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Writes into the guest's memory, through QEMU's gdb stub; the guest runs on if it ran. */
  async poke(directory: string, address: number, bytes: Uint8Array): Promise<void> {
    const path = join(directory, `gdb.${performance.now()}`);
    await using server = createServer().listen(path);
    const connection = once(server, 'connection') as Promise<[Socket]>;
    await this.execute('human-monitor-command', { 'command-line': `gdbserver unix:${path}` });
    const [gdb] = await connection;
    gdb.on('error', () => undefined);
    try {
      const data = Buffer.from(bytes).toString('hex');
      await converse(gdb, `M${address.toString(16)},${bytes.length.toString(16)}:${data}`);
      await converse(gdb, 'D');
    } finally {
      gdb.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode === null && signalCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await ended;
    }
    for (const server of this.#servers) server.close();
  }

  #changed(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** One packet of gdb's remote protocol and the answer OK. */
async function converse(gdb: Socket, packet: string): Promise<void> {
  let sum = 0;
  for (const char of Buffer.from(packet)) sum = (sum + char) & 0xff;
  gdb.write(`$${packet}#${sum.toString(16).padStart(2, '0')}`);
  let answer = '';
  while (!answer.includes('$OK#9a')) {
    const [chunk] = (await once(gdb, 'data')) as [Buffer];
    answer += chunk.toString('latin1');
    if (/\$E/.test(answer)) throw new Error(`gdb stub: ${answer}`);
  }
  gdb.write('+');
}
