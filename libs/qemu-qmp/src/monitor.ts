import { channel } from 'node:diagnostics_channel';
import type { Duplex } from 'node:stream';
import { isNativeError } from 'node:util/types';
import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { connectSocket, knockUntilAnswered } from './connect.ts';
import { decode } from './decode.ts';
import { QmpError } from './errors.ts';
import { EventQueue } from './event-queue.ts';
import type { Commands, Events } from './generated/qmp.ts';
import { eventShapes, objectShapes, replyShapes } from './generated/shapes.ts';
import { type Feature, hasFeature } from './features.ts';
import { type QemuVersion, QmpSession } from './session.ts';

/** An event, its data checked, and when it happened by QEMU's clock. */
export interface TimedEvent<E extends keyof Events> {
  readonly name: E;
  readonly data: Events[E];
  /** QMP's timestamp, in µs since 1970. */
  readonly atUs: number;
}

/** A command that QEMU has all but the end of. */
export interface PreparedCommand<C extends keyof Commands> extends Disposable {
  /** Has it carried out. Throws like `execute`. */
  send(signal: AbortSignal): Promise<Commands[C]['returns']>;
}

const tracer = trace.getTracer('@ferry/qemu-qmp');

/** The diagnostics channel on which each command is told when it is over: its name, how long it took in seconds, and the kind of error if it failed. */
export const qmpCommands = 'ferry.qmp.command';
const over = channel(qmpCommands);

/** Makes a span of a command, and checks its reply. The command is sent before this returns. */
async function traced<C extends keyof Commands>(
  name: C,
  send: () => Promise<unknown>,
): Promise<Commands[C]['returns']> {
  const span = tracer.startSpan(`qmp ${name}`, { kind: SpanKind.CLIENT });
  const startedMs = performance.now();
  let kind: string | undefined;
  try {
    return decode(await send(), replyShapes[name], name, objectShapes);
  } catch (error) {
    span.setStatus({ code: SpanStatusCode.ERROR, message: isNativeError(error) ? error.message : String(error) });
    kind = error instanceof QmpError ? error.kind : 'cancelled';
    throw error;
  } finally {
    span.end();
    if (over.hasSubscribers) over.publish({ name, seconds: (performance.now() - startedMs) / 1_000, error: kind });
  }
}

/**
 * One QEMU's monitor, with the commands and events of the oldest QEMU we support (generated/qmp.ts). What comes from QEMU
 * has been checked against their types; its words may be newer than them.
 */
export class Monitor implements AsyncDisposable {
  /** Which QEMU this is. `package` is the distribution's own name for its build, and may be empty. */
  readonly version: {
    readonly major: number;
    readonly minor: number;
    readonly micro: number;
    readonly package: string;
  };
  readonly #session: QmpSession;

  /**
   * Connects to a monitor's UNIX socket. While the socket does not exist or refuses, waits for it until the signal aborts: give
   * one that also aborts when the QEMU process ends. Throws QmpError `qemu-unreachable`, `qemu-protocol` or
   * `qemu-disconnected`, or the signal's reason.
   */
  static async connect(path: string, signal: AbortSignal): Promise<Monitor> {
    const socket = await connectSocket(path, signal);
    using _knocking = knockUntilAnswered(path);
    return await Monitor.open(socket, signal);
  }

  /** Opens the conversation on any stream of bytes; destroys it when that fails. Throws like `connect`. */
  static async open(stream: Duplex, signal: AbortSignal): Promise<Monitor> {
    const { session, version } = await QmpSession.open(stream, signal);
    return new Monitor(session, version);
  }

  private constructor(session: QmpSession, version: QemuVersion) {
    this.#session = session;
    this.version = { ...version.qemu, package: version.package };
  }

  /** Aborts with a QmpError `qemu-disconnected` when the connection ends, whoever ended it. */
  get closed(): AbortSignal {
    return this.#session.closed;
  }

  /**
   * Has QEMU carry out a command. Throws QmpError: `qemu-refused` (with QEMU's words in `refusal`), `qemu-disconnected`,
   * `qemu-protocol` for a reply of the wrong shape; or the signal's reason, and then QEMU may yet carry out the command.
   */
  execute<C extends keyof Commands>(
    name: C,
    args: Commands[C]['arguments'],
    signal: AbortSignal,
  ): Promise<Commands[C]['returns']> {
    return traced(name, () => this.#session.execute(name, args, signal));
  }

  /**
   * `cont`, and `stop` right after it, in one write: a guest that QEMU holds as `postmigrate` is `paused` then, and its disks are active. Its CPUs
   * run for some microseconds. Throws like `execute`.
   */
  async contAndStop(signal: AbortSignal): Promise<void> {
    const commands = ['cont', 'stop'].map((name) => ({ name, args: {} }));
    await this.#session.executeTogether(commands, signal);
  }

  /**
   * Keeps a command ready for the moment when every microsecond counts: QEMU has all but its end by then, which saves about 4 µs
   * a byte. `send` is `execute`; dispose what is not sent. One at a time; other commands may be executed meanwhile, each
   * costs QEMU a refusal more. Nothing happens in QEMU before `send`, also if the connection ends.
   */
  prepare<C extends 'cont' | 'migrate-continue'>(name: C, args: Commands[C]['arguments']): PreparedCommand<C> {
    const prepared = this.#session.prepare(name, args);
    return {
      send: (signal) => traced(name, () => prepared.send(signal)),
      [Symbol.dispose]: () => prepared[Symbol.dispose](),
    };
  }

  /**
   * Calls back with each event of a name, synchronously as it has been read: before the reply to any command that QEMU answered
   * later. Ends when disposed, or silently with the connection (see `closed`).
   */
  on<E extends keyof Events>(name: E, listener: (event: TimedEvent<E>) => void): Disposable {
    return this.#session.on(name, (data, atUs) => {
      listener({ name, data: decode(data, eventShapes[name], name, objectShapes) as Events[E], atUs });
    });
  }

  /**
   * The events of a name from now on (not from the first `next()`). Ends by throwing when the connection drops, the signal
   * aborts, or 1024 events wait to be looked at.
   */
  events<E extends keyof Events>(name: E, signal: AbortSignal): AsyncIterableIterator<TimedEvent<E>, undefined> {
    return new EventQueue((put) => this.on(name, put), [this.closed, signal]);
  }

  /**
   * Whether this QEMU has a command, or a command has an argument. Asks for the whole schema (about 40 ms) at the first
   * question to each version of QEMU. Throws like `execute`.
   */
  supports(what: Feature, signal: AbortSignal): Promise<boolean> {
    return hasFeature(this, what, signal);
  }

  /** Closes the connection; QEMU goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }
}
