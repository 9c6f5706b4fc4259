import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import { type FakeAnswer, fakeMachine, FakeRefusal } from './fake-machine.ts';
import { Framing, type QmpObject } from './framing.ts';
import type { Events } from './generated/qmp.ts';
import { isObject } from './decode.ts';

export { type FakeAnswer, FakeRefusal } from './fake-machine.ts';

/**
 * Speaks QMP like a QEMU without a guest, for tests: over a pipe (`connect`) or a UNIX socket (`listen`). What it does by itself is
 * held against a real QEMU by contract.test.ts; `answer`, `emit`, `send` and `die` make the rest happen.
 */
export class FakeQemu implements AsyncDisposable {
  /** Every command received, in order. */
  readonly received: { readonly name: string; readonly args: QmpObject }[] = [];
  /** Whether an argument that no command has is refused. */
  refuseUnknown = true;
  readonly #version: { qemu: { major: number; minor: number; micro: number }; package: string };
  readonly #answers: Map<string, FakeAnswer>;
  readonly #connections: Set<Duplex> = new Set();
  #server: Server | undefined;
  #exiting = false;

  constructor(version: { major: number; minor: number; micro: number } = { major: 7, minor: 2, micro: 0 }) {
    this.#version = { qemu: version, package: 'fake' };
    this.#answers = fakeMachine(this.#version, {
      emit: (name, data) => this.emit(name, data),
      exit: () => {
        this.#exiting = true;
      },
    });
  }

  /** The client's end of a new connection. */
  connect(): Duplex {
    const [ours, theirs] = duplexPair();
    this.#serve(ours);
    return theirs;
  }

  /** Listens on a UNIX socket. */
  async listen(path: string): Promise<void> {
    this.#server = createServer((socket) => this.#serve(socket)).listen(path);
    await once(this.#server, 'listening');
  }

  /** Sets what a command is answered with from now on. An answer that throws FakeRefusal refuses; one that gives undefined says nothing. */
  answer(name: string, answer: FakeAnswer): void {
    this.#answers.set(name, answer);
  }

  /** Sends an event to every client. */
  emit<E extends keyof Events>(name: E, data: Events[E]): void {
    const nowUs = Math.round((performance.timeOrigin + performance.now()) * 1000);
    const timestamp = { seconds: Math.floor(nowUs / 1e6), microseconds: nowUs % 1e6 };
    this.send(`${JSON.stringify({ timestamp, event: name, data })}\r\n`);
  }

  /** Sends bytes as they are to every client. */
  send(bytes: string | Uint8Array): void {
    for (const connection of this.#connections) connection.write(bytes);
  }

  /** Ends every connection in the middle of whatever is going on, as a killed QEMU does. */
  die(): void {
    for (const connection of this.#connections) connection.destroy();
    this.#server?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    this.die();
    if (server?.listening) await once(server, 'close');
  }

  #serve(connection: Duplex): void {
    const framing = new Framing();
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('error', () => connection.destroy());
    connection.on('end', () => connection.destroy());
    connection.on('data', (chunk: Buffer) => framing.push(chunk, (message) => this.#receive(connection, message)));
    connection.write(`${JSON.stringify({ QMP: { version: this.#version, capabilities: ['oob'] } })}\r\n`);
  }

  #receive(connection: Duplex, message: QmpObject): void {
    const name = String(message['execute']);
    const args = isObject(message['arguments']) ? message['arguments'] : {};
    this.received.push({ name, args });
    const reply = this.#reply(name, args);
    if (reply) connection.write(`${JSON.stringify({ ...reply, id: message['id'] }, bigintAsNumber)}\r\n`);
    if (this.#exiting) connection.end();
  }

  #reply(name: string, args: QmpObject): object | undefined {
    if (name === 'qmp_capabilities') return { return: {} };
    const answer = this.#answers.get(name);
    if (!answer) {
      return { error: { class: 'CommandNotFound', desc: `The command ${name} has not been found` } };
    }
    try {
      // As QEMU does with every argument that it doesn't know; this is the one that the session itself sends.
      if ('' in args && this.refuseUnknown) throw new FakeRefusal("Parameter '' is unexpected");
      const value = answer(args);
      return value === undefined ? undefined : { return: value };
    } catch (error) {
      if (error instanceof FakeRefusal) return { error: { class: error.class, desc: error.message } };
      throw error;
    }
  }
}

const bigintAsNumber = (_key: string, value: unknown) => (typeof value === 'bigint' ? Number(value) : value);
