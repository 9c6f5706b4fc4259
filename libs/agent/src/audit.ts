/** The audit trail: one JSON line for each call and each failed handshake, on a stream of its own. */
import { destination, type DestinationStream, pino } from 'pino';
import { type Caller, nameOf } from './callers.ts';

/** What a call was about and how it ended. */
export interface AuditedCall {
  /** `/ferry.v1.SourceAgent/Migrate`. */
  readonly method: string;
  readonly migrationId?: string | undefined;
  readonly domain?: string | undefined;
  /** gRPC's name for the status: `OK`, `PERMISSION_DENIED`, … */
  readonly code: string;
  /** Why it failed, in our words. */
  readonly reason?: string | undefined;
  readonly tookMs: number;
}

export interface AuditLog {
  call(caller: Caller, what: AuditedCall): void;
  /** A connection that was ended before its certificate was verified. */
  handshake(address: string, why: string): void;
}

/** When nobody reads it, lines beyond these bytes are dropped: a guest is not kept waiting for an audit. */
const backlogBytesMax = 4 * 2 ** 20;

/** To the file, which is appended to, or to standard error. Throws the errors of the file system. */
export function openAudit(file: string | undefined, to?: DestinationStream): AuditLog {
  const stream =
    to ?? destination({ dest: file ?? 2, append: true, mode: 0o600, sync: false, maxLength: backlogBytesMax });
  const log = pino({ base: { log: 'audit' }, timestamp: pino.stdTimeFunctions.isoTime, level: 'info' }, stream);
  const who = (caller: Caller) => ({
    who: nameOf(caller),
    subject: caller.subject,
    names: caller.names,
    fingerprint: caller.fingerprint,
    roles: [...caller.roles],
    address: caller.address,
  });
  return {
    call: (caller, what) => log.info({ ...who(caller), ...what }),
    handshake: (address, why) => log.info({ address, method: 'handshake', code: 'UNAUTHENTICATED', reason: why }),
  };
}

/** For what has no audit: a server of tests. */
export const noAudit: AuditLog = { call: () => undefined, handshake: () => undefined };
