/** An error as the caller of an agent sees it. */
import { randomUUID } from 'node:crypto';
import { type Phase, phaseNumber } from '@ferry/migration';
import { type Failure, Side as WireSide } from '@ferry/proto/ferry/v1/migration';
import { ErrorInfo } from '@ferry/proto/google/rpc/error_details';
import { Status } from '@ferry/proto/google/rpc/status';
import { detailsTrailer, errorDomain, errorInfoType } from './failures.ts';
import { isReason, type Reason, reasonRow } from './reasons.ts';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type Cause, causeOf, failureFrom, type Where } from './causes.ts';

/** When to call again, of what is refused only for being too much at once. */
const retryAfter: Partial<Record<Reason, { readonly retry_after_ms: string }>> = {
  'too-many-calls': { retry_after_ms: '1000' },
  'too-many-watchers': { retry_after_ms: '1000' },
};

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
  return reasonRow(reason)?.code ?? status.UNKNOWN;
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
