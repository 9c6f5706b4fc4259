/** gRPC's codes; they appear here and nowhere else. */
import { randomUUID } from 'node:crypto';
import { type Phase, phaseNumber } from '@ferry/migration';
import { type Failure, Side as WireSide } from '@ferry/proto/ferry/v1/migration';
import { ErrorInfo } from '@ferry/proto/google/rpc/error_details';
import { Status } from '@ferry/proto/google/rpc/status';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  type Cause,
  causeOf,
  detailsTrailer,
  errorDomain,
  errorInfoType,
  failureFrom,
  type Reason,
  type Where,
} from './failure.ts';

const codeOf: Readonly<Record<Reason, status>> = {
  cancelled: status.CANCELLED,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  draining: status.UNAVAILABLE,
  'too-many-calls': status.RESOURCE_EXHAUSTED,
  'too-many-watchers': status.RESOURCE_EXHAUSTED,
  'not-allowed': status.PERMISSION_DENIED,
  'compression-unsupported': status.UNIMPLEMENTED,
  'config-invalid': status.FAILED_PRECONDITION,
  internal: status.INTERNAL,

  'xml-malformed': status.INVALID_ARGUMENT,
  'xml-unsupported': status.INVALID_ARGUMENT,
  'xml-invalid': status.INVALID_ARGUMENT,
  'abi-mismatch': status.FAILED_PRECONDITION,

  'register-unavailable': status.UNAVAILABLE,
  'register-changed': status.ABORTED,
  'register-reply': status.INTERNAL,
  'vote-missing': status.FAILED_PRECONDITION,
  'prepared-elsewhere': status.FAILED_PRECONDITION,
  'migration-id-used': status.FAILED_PRECONDITION,
  'owned-elsewhere': status.FAILED_PRECONDITION,
  'host-unknown': status.NOT_FOUND,
  'host-alive': status.FAILED_PRECONDITION,
  'journal-unreadable': status.UNAVAILABLE,
  'journal-unwritable': status.UNAVAILABLE,
  'journal-damaged': status.DATA_LOSS,

  'domain-not-found': status.NOT_FOUND,
  'domain-exists': status.ALREADY_EXISTS,
  'domain-not-running': status.FAILED_PRECONDITION,
  'disk-missing': status.FAILED_PRECONDITION,
  'file-refused': status.FAILED_PRECONDITION,
  'host-exposed': status.FAILED_PRECONDITION,
  'network-missing': status.FAILED_PRECONDITION,
  'not-enough-memory': status.RESOURCE_EXHAUSTED,
  'qemu-start-failed': status.FAILED_PRECONDITION,
  'machine-unsupported': status.FAILED_PRECONDITION,
  'cpu-unsupported': status.FAILED_PRECONDITION,
  'ports-exhausted': status.RESOURCE_EXHAUSTED,
  'address-unusable': status.FAILED_PRECONDITION,
  'state-unreadable': status.DATA_LOSS,
  'state-unwritable': status.UNAVAILABLE,

  'job-held': status.ABORTED,
  'already-migrating': status.FAILED_PRECONDITION,
  'unknown-migration': status.NOT_FOUND,
  'foreign-migration': status.FAILED_PRECONDITION,
  'phase-out-of-order': status.FAILED_PRECONDITION,
  'phase-in-progress': status.ABORTED,
  'lease-lost': status.ABORTED,
  'redis-unavailable': status.UNAVAILABLE,
  'redis-reply': status.INTERNAL,

  'cookie-missing': status.INVALID_ARGUMENT,
  'cookie-damaged': status.INVALID_ARGUMENT,
  'cookie-version': status.FAILED_PRECONDITION,
  'cookie-feature': status.FAILED_PRECONDITION,
  'cookie-foreign': status.INVALID_ARGUMENT,
  'cookie-forged': status.PERMISSION_DENIED,
  'same-host': status.INVALID_ARGUMENT,
  'invalid-request': status.INVALID_ARGUMENT,
  'request-differs': status.ALREADY_EXISTS,
  'invalid-uri': status.INVALID_ARGUMENT,
  'destination-unreachable': status.UNAVAILABLE,
  'source-unreachable': status.FAILED_PRECONDITION,
  'source-agent-away': status.UNAVAILABLE,
  'destination-refused': status.FAILED_PRECONDITION,
  'migration-failed': status.ABORTED,
  'migration-cancelled': status.CANCELLED,
  'migration-blocked': status.FAILED_PRECONDITION,
  'migration-unsafe': status.FAILED_PRECONDITION,
  'memory-not-encrypted': status.FAILED_PRECONDITION,
  'capability-missing': status.FAILED_PRECONDITION,
  'guest-gone': status.ABORTED,
  'guest-ended': status.ABORTED,
  'incoming-failed': status.ABORTED,
  'not-ready': status.UNAVAILABLE,
  'switching-over': status.ABORTED,
  'handshake-failed': status.ABORTED,
  'switchover-stalled': status.ABORTED,
  'not-migrating': status.FAILED_PRECONDITION,
  'in-doubt': status.UNAVAILABLE,
  'other-undecided': status.UNAVAILABLE,
  'not-in-doubt': status.FAILED_PRECONDITION,
  'resolution-disproved': status.FAILED_PRECONDITION,
  abandoned: status.ABORTED,

  'qemu-disconnected': status.ABORTED,
  'qemu-refused': status.FAILED_PRECONDITION,
  'qemu-protocol': status.INTERNAL,
  'qemu-unreachable': status.UNAVAILABLE,
};

/** When to call again, of what is refused only for being too much at once. */
const retryAfter: Partial<Record<Reason, { readonly retry_after_ms: string }>> = {
  'too-many-calls': { retry_after_ms: '1000' },
  'too-many-watchers': { retry_after_ms: '1000' },
};

const isReason = (word: string): word is Reason => Object.hasOwn(codeOf, word);

/** An error as gRPC sends it. */
export interface CallFailure extends ServiceError {
  readonly reason: string;
  /** Of an error that nobody foresaw: the caller gets this word, the log has the error under it. */
  readonly logId: string | undefined;
}

/**
 * An error as the caller of an agent sees it: code, message, and in the trailer a google.rpc.Status with an ErrorInfo: its `reason` is the
 * error's kind, its metadata has `side`, `phase`, `retryable` and what is in `metadata`. The text of an error that nobody foresaw is
 * for our log only.
 */
export function toStatus(error: unknown, where: Where, metadata: Readonly<Record<string, string>> = {}): CallFailure {
  const cause = causeOf(error);
  const failure = failureFrom(cause, where);
  const logId = failure.reason === 'internal' && cause.from === 'known' ? randomUUID().slice(0, 8) : undefined;
  const message = clipped(
    logId === undefined ? failure.message : `internal error; the agent's log has it under ${logId}`,
  );
  const code = codeFor(cause, failure);
  const trailers = new Metadata();
  const info = infoOf(failure, logId === undefined ? metadata : { ...metadata, log_id: logId });
  const details = [{ typeUrl: errorInfoType, value: Buffer.from(ErrorInfo.encode(info).finish()) }];
  trailers.set(detailsTrailer, Buffer.from(Status.encode({ code, message, details }).finish()));
  return Object.assign(new Error(message), {
    code,
    details: message,
    metadata: trailers,
    reason: failure.reason,
    logId,
  });
}

/** Another agent's code stands, as its reason does. */
function codeFor(cause: Cause, { reason }: Failure): status {
  if (cause.from === 'told' && cause.code !== undefined) return cause.code;
  return isReason(reason) ? codeOf[reason] : status.UNKNOWN;
}

function infoOf(failure: Failure, more: Readonly<Record<string, string>>): ErrorInfo {
  const side =
    failure.side === WireSide.SIDE_SOURCE ? 'source' : failure.side === WireSide.SIDE_DEST ? 'dest' : undefined;
  const phase = phaseWord.get(failure.phase);
  return {
    reason: failure.reason,
    domain: errorDomain,
    metadata: {
      ...more,
      ...(isReason(failure.reason) ? retryAfter[failure.reason] : {}),
      ...(side === undefined ? {} : { side }),
      ...(phase === undefined ? {} : { phase }),
      retryable: String(failure.retryable),
    },
  };
}

const phaseWord: ReadonlyMap<number, string> = new Map(
  Object.entries(phaseNumber).map(([word, number]: [string, (typeof phaseNumber)[Phase]]) => [number, word]),
);

/**
 * Trailers as a whole may have 8 KiB with gRPC's C core, or the call fails without any message. The message is in there twice: once
 * percent-encoded (up to three times its bytes), once in base64.
 */
const messageBytesMax = 1_500;

function clipped(message: string): string {
  const bytes = Buffer.from(message);
  if (bytes.length <= messageBytesMax) return message;
  // A character that is cut in two becomes a replacement character, which goes too.
  return `${bytes.subarray(0, messageBytesMax).toString().replace(/�+$/, '')} …`;
}
