import { once, setMaxListeners } from 'node:events';
import type { Duplex } from 'node:stream';
import { isNativeError } from 'node:util/types';
import { decode, isObject } from './decode.ts';
import { QmpError } from './errors.ts';
import { Framing, type QmpObject } from './framing.ts';
import type { Commands } from './generated/qmp.ts';
import { objectShapes, replyShapes } from './generated/shapes.ts';

/** Commands that may wait for their answer at once. @internal */
export const pendingMax = 64;

/** Events that may come at once, and how many a second for ever. QEMU itself sends most kinds once a second at most. @internal */
export const eventsBurst = 10_000;
const eventsPerSecond = 1_000;

/** Called synchronously with an event as it came; `atUs` is QEMU's clock, in µs since 1970. */
export type RawListener = (data: unknown, atUs: number) => void;

export type QemuVersion = Commands['query-version']['returns'];

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  /** What the reply answers, for messages. */
  readonly name: string;
}

/** A command that waits for its moment; `id` is that of its head, when that has been sent. */
interface Prepared {
  readonly name: string;
  readonly args: object;
  id: number | undefined;
}

/** QEMU's greeting, which comes unasked, waits for its "reply" like a command; real ids begin at 1. */
const greetingId = 0;

/**
 * A conversation in QMP: greeting, capabilities, replies matched to commands by id, events handed on as they come.
 * Nothing here knows what a command means.
 */
export class QmpSession implements AsyncDisposable {
  readonly #stream: Duplex;
  readonly #framing = new Framing();
  readonly #waiters: Map<number, Waiter> = new Map();
  readonly #listeners: Map<string, Set<RawListener>> = new Map();
  readonly #closed = new AbortController();
  /**
   * A starting QEMU (7.2) that is connected to while its monitor moves to its own thread may greet twice: the connection is
   * announced by both threads. Harmless before capabilities are negotiated; later it would mean that they are forgotten.
   */
  #mayGreetAgain = true;
  #prepared: Prepared | undefined;
  /** Events that may come now; grows with time. */
  #eventsLeft = eventsBurst;
  #eventAtMs = performance.now();
  /** What waiters are told once the conversation has ended. */
  #end: QmpError | undefined;

  /**
   * Waits for the greeting and ends the negotiation of capabilities. Throws QmpError, or the signal's reason; the stream is
   * destroyed then.
   */
  static async open(stream: Duplex, signal: AbortSignal): Promise<{ session: QmpSession; version: QemuVersion }> {
    const session = new QmpSession(stream);
    try {
      signal.throwIfAborted();
      const version = await session.#reply(greetingId, 'the greeting', signal);
      await session.execute('qmp_capabilities', {}, signal);
      return {
        session,
        version: decode(version, replyShapes['query-version'], 'version', objectShapes) as QemuVersion,
      };
    } catch (error) {
      session.giveUp(error);
      throw error;
    }
  }

  private constructor(stream: Duplex) {
    this.#stream = stream;
    // Everybody who waits for something of this QEMU listens to it.
    setMaxListeners(0, this.#closed.signal);
    stream.on('data', (chunk: Buffer) => this.#read(chunk));
    stream.on('error', (cause) => this.giveUp(cause));
    stream.on('end', () => this.giveUp());
    stream.on('close', () => this.giveUp());
  }

  /** Aborts with a QmpError `qemu-disconnected` when the connection has ended, after every command's waiter was told. */
  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /**
   * Sends a command and waits for its reply, of which nothing is known yet. Throws QmpError, or the signal's reason: a command
   * that was sent is then carried out all the same.
   */
  async execute(name: string, args: object, signal: AbortSignal): Promise<unknown> {
    return (await this.executeTogether([{ name, args }], signal))[0];
  }

  /** Sends commands in one write: QEMU carries them out one after the other, and this process cannot end between them. Throws like `execute`. */
  async executeTogether(
    commands: readonly { readonly name: string; readonly args: object }[],
    signal: AbortSignal,
  ): Promise<unknown[]> {
    signal.throwIfAborted();
    if (this.#end) throw this.#end;
    if (this.#waiters.size + commands.length > pendingMax) {
      const names = commands.map(({ name }) => name).join(', ');
      throw new QmpError(
        'qemu-unreachable',
        `QEMU has left ${this.#waiters.size} commands unanswered, so ${names} was not sent`,
      );
    }
    this.#withdraw();
    let text = '';
    const replies = commands.map(({ name, args }) => {
      const id = this.#freeId();
      const { head, tail } = commandText(name, args, id);
      text += head + tail;
      return this.#reply(id, name, signal);
    });
    this.#stream.write(text);
    return Promise.all(replies);
  }

  /**
   * Keeps a command ready: all but its end is sent while nothing else is, so that QEMU has read it when it is time. A
   * command that is sent in between first has it refused (see commandText); QEMU forgets it when the connection ends. Only
   * for commands that are known to refuse an unknown argument before they do anything. One at a time.
   */
  prepare(name: string, args: object): Disposable & { send(signal: AbortSignal): Promise<unknown> } {
    if (this.#prepared) throw new Error(`${this.#prepared.name} is prepared, ${name} cannot be too`);
    const prepared: Prepared = { name, args, id: undefined };
    this.#prepared = prepared;
    this.#sendHead();
    return {
      send: (signal) => this.#sendPrepared(prepared, signal),
      [Symbol.dispose]: () => {
        if (this.#prepared !== prepared) return;
        this.#withdraw();
        this.#prepared = undefined;
      },
    };
  }

  /**
   * Hands on every event of a name, synchronously as it is read, until disposed. A listener that throws ends the conversation:
   * whoever waits learns the cause, nobody goes on with half of the listeners told.
   */
  on(name: string, listener: RawListener): Disposable {
    // A subscription is its own even when one function is given twice.
    const own: RawListener = (data, atUs) => listener(data, atUs);
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(own));
    return { [Symbol.dispose]: () => listeners.delete(own) };
  }

  /** Ends the conversation; every waiter is told why. QEMU itself goes on. */
  giveUp(cause?: unknown): void {
    if (this.#end) return;
    const why = isNativeError(cause) ? cause.message : 'QEMU ended, or another client took the monitor';
    const ended = new QmpError('qemu-disconnected', `the connection to QEMU's monitor ended: ${why}`, { cause });
    this.#end = cause instanceof QmpError ? cause : ended;
    this.#stream.destroy();
    for (const { reject } of this.#waiters.values()) reject(this.#end);
    this.#waiters.clear();
    this.#closed.abort(ended);
  }

  /** Closes the connection; QEMU goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.giveUp(new Error('this side closed it'));
    if (!this.#stream.closed) await once(this.#stream, 'close');
  }

  #freeId(): number {
    let id = greetingId + 1;
    while (this.#waiters.has(id)) id += 1;
    return id;
  }

  #sendHead(): void {
    const prepared = this.#prepared;
    if (!prepared || prepared.id !== undefined || this.#end || this.#waiters.size > 0) return;
    prepared.id = this.#freeId();
    this.#stream.write(commandText(prepared.name, prepared.args, prepared.id).head);
  }

  async #sendPrepared(prepared: Prepared, signal: AbortSignal): Promise<unknown> {
    const { name, args, id } = prepared;
    signal.throwIfAborted();
    if (this.#prepared !== prepared) throw new Error(`the prepared ${name} was sent or disposed before`);
    this.#prepared = undefined;
    if (id === undefined || this.#end) return this.execute(name, args, signal);
    const reply = this.#reply(id, name, signal);
    this.#stream.write(commandText(name, args, id).tail);
    return reply;
  }

  /** Ends a command that lies half sent in a way that QEMU refuses. */
  #withdraw(): void {
    const { name, args, id } = this.#prepared ?? {};
    if (this.#prepared === undefined || name === undefined || args === undefined || id === undefined) return;
    this.#prepared.id = undefined;
    const carriedOut = () =>
      this.giveUp(new QmpError('qemu-protocol', `QEMU carried out ${name}, which was withdrawn`));
    this.#waiters.set(id, { name, resolve: carriedOut, reject: () => undefined });
    this.#stream.write(commandText(name, args, id).refused);
  }

  /** The reply with an id. When the signal aborts, the waiter stays until the reply comes, or the reply would be a stranger. */
  #reply(id: number, name: string, signal: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      // A limit that is over in a process that had no processor: QEMU's reply may lie in the socket, which is looked at between two timers.
      const abandon = () => {
        const leave = () => reject(signal.reason as Error);
        if (isTimeout(signal.reason)) setTimeout(leave, 0);
        else leave();
      };
      signal.addEventListener('abort', abandon, { once: true });
      const done = () => signal.removeEventListener('abort', abandon);
      this.#waiters.set(id, {
        name,
        resolve: (value) => (done(), resolve(value)),
        reject: (error) => (done(), reject(error)),
      });
    });
  }

  #read(chunk: Buffer): void {
    try {
      this.#framing.push(chunk, (message) => {
        // A listener may have ended the conversation in the middle of a chunk.
        if (!this.#end) this.#receive(message);
      });
    } catch (error) {
      this.giveUp(error);
    }
  }

  #receive(message: QmpObject): void {
    if (typeof message['event'] === 'string') {
      this.#refuseFlood();
      this.#dispatch(message['event'], message);
      return;
    }
    const id = 'QMP' in message ? greetingId : message['id'];
    const waiter = typeof id === 'number' ? this.#waiters.get(id) : undefined;
    if (!waiter || typeof id !== 'number') {
      if (id !== greetingId || !this.#mayGreetAgain) {
        throw new QmpError('qemu-protocol', `QEMU answered what nobody asked (id ${String(id)})`);
      }
      this.#mayGreetAgain = false;
      return;
    }
    if (id !== greetingId) this.#mayGreetAgain = false;
    this.#waiters.delete(id);
    if ('error' in message) waiter.reject(refused(waiter.name, message['error']));
    else if (id === greetingId) waiter.resolve(isObject(message['QMP']) ? message['QMP']['version'] : undefined);
    else waiter.resolve(message['return']);
    this.#sendHead();
  }

  /** A hostile QEMU may send nothing but events, and the other guests' agents would read nothing else. */
  #refuseFlood(): void {
    const nowMs = performance.now();
    this.#eventsLeft =
      Math.min(eventsBurst, this.#eventsLeft + ((nowMs - this.#eventAtMs) / 1_000) * eventsPerSecond) - 1;
    this.#eventAtMs = nowMs;
    if (this.#eventsLeft >= 0) return;
    throw new QmpError(
      'qemu-protocol',
      `QEMU sends more than ${eventsPerSecond} events a second; the monitor is given up`,
    );
  }

  #dispatch(name: string, message: QmpObject): void {
    const listeners = this.#listeners.get(name);
    if (!listeners || listeners.size === 0) return;
    const stamp = message['timestamp'];
    const atUs = isObject(stamp) ? Number(stamp['seconds']) * 1e6 + Number(stamp['microseconds']) : Number.NaN;
    if (!Number.isSafeInteger(atUs)) throw new QmpError('qemu-protocol', `QEMU sent event ${name} without its time`);
    for (const listener of listeners) listener(message['data'] ?? {}, atUs);
  }
}

/**
 * The shortest text of a command, in two parts, and an end that makes QEMU refuse it ("Parameter '' is unexpected").
 * QEMU (7.2 at least) takes a monitor's bytes one at a time, about 4 µs each: that is why ids are used again, the lowest first, why
 * arguments that are none are left out, and why a command that matters is sent beforehand but for its end.
 */
function commandText(name: string, args: object, id: number): { head: string; tail: string; refused: string } {
  const text = JSON.stringify(args);
  const head = `{"execute":${JSON.stringify(name)},"id":${id}`;
  if (text === '{}') return { head, tail: '}\n', refused: ',"arguments":{"":0}}\n' };
  return { head: `${head},"arguments":${text.slice(0, -1)}`, tail: '}}\n', refused: ',"":0}}\n' };
}

function refused(name: string, error: unknown): QmpError {
  const { class: errorClass, desc } = isObject(error) ? error : {};
  if (typeof errorClass !== 'string' || typeof desc !== 'string') {
    return new QmpError('qemu-protocol', `QEMU refused ${name} without a reason`);
  }
  const refusal = { class: errorClass.slice(0, 100), desc: desc.slice(0, 2000) };
  return new QmpError('qemu-refused', `QEMU refused ${name}: ${refusal.desc}`, { refusal });
}

/** A limit that is over, rather than a caller that went. */
const isTimeout = (reason: unknown): boolean => reason instanceof Error && reason.name === 'TimeoutError';
