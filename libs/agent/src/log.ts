import type { Phase, Side } from '@ferry/migration';
import { traceFields } from './tracing.ts';
import { destination, type DestinationStream, type Logger, pino, stdSerializers } from 'pino';

/** Every part that logs takes one of these. */
export type Log = Logger;

/** What every line about a migration carries. */
export interface LogFields {
  readonly migrationId?: string;
  /** UUID or name, as the caller gave it. */
  readonly domain?: string;
  readonly side?: Side;
  readonly phase?: Phase;
}

/** Fields that hold a guest's XML or a cookie; only their size may be seen. */
const secret = ['domainXml', 'xml', 'cookie', 'cookieIn', 'cookieOut'];

/** When nobody reads our output, lines beyond these bytes are dropped: logging must never hold up a migration. */
const backlogBytesMax = 4 * 2 ** 20;

/**
 * The log of a process: JSON lines on standard output, written without waiting. Within a trace, lines carry its ids.
 * An error under the key `err` is written with its chain of causes.
 */
export function openLog(level: string, to: DestinationStream = stdout()): Log {
  return pino(
    {
      level,
      base: { pid: process.pid },
      mixin: traceFields,
      serializers: { err: (error: Error) => withoutCommands(stdSerializers.errWithCause(error)) },
      redact: { paths: secret.flatMap((name) => [name, `*.${name}`]), censor: sizeOf },
    },
    to,
  );
}

/** ioredis puts the whole command that was refused into its error: a password, a cookie. */
function withoutCommands(error: unknown): unknown {
  if (typeof error !== 'object' || error === null) return error;
  const { command: _command, ...rest } = { ...error } as Record<string, unknown>;
  return 'cause' in rest ? { ...rest, cause: withoutCommands(rest['cause']) } : rest;
}

/** A log whose lines carry those fields. */
export const logOf = (log: Log, fields: LogFields): Log => log.child(fields);

/** For what goes wrong with telemetry itself, which is no line of the agent's log. */
export const errorLog = (): Log => openLog('warn', destination({ dest: 2, sync: true }));

const stdout = (): DestinationStream => destination({ dest: 1, sync: false, maxLength: backlogBytesMax });

const sizeOf = (value: unknown): string =>
  typeof value === 'string' || value instanceof Uint8Array ? `(${value.length} long)` : '(withheld)';
