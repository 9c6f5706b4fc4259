/** What went wrong, in the words that callers get: one reason from a closed list, where, and whether trying again may help. */
import { type Phase, phaseNumber, type Side } from '@ferry/migration';
import { type Failure, Side as WireSide } from '@ferry/proto/ferry/v1/migration';
import { failureFromWire, isError, isServiceError } from './failures.ts';
import { isReason, type Reason, reasons } from './reasons.ts';
import { type ServiceError, status } from '@grpc/grpc-js';

/** Where in the protocol something failed. */
export interface Where {
  readonly side: Side;
  readonly phase?: Phase | undefined;
}

/** An error of one of our packages: its `kind` is a row of the table of reasons. A test in libs/agent holds each package's kinds against that. */
const isFerryError = (error: Error): error is Error & { readonly kind: Reason } =>
  'kind' in error && typeof error.kind === 'string' && isReason(error.kind);

/** Thrown to answer with a failure that is known already: one that was recorded, or that another agent reported. */
export class FailureError extends Error {
  override readonly name = 'FailureError';
  readonly failure: Failure;

  constructor(failure: Failure, options?: ErrorOptions) {
    super(failure.message, options);
    this.failure = failure;
  }
}

/** A cause: `known` is one of our own errors, `told` comes from another agent or from a record. */
export type Cause =
  | { readonly from: 'known'; readonly reason: Reason; readonly message: string; readonly error: unknown }
  | { readonly from: 'told'; readonly failure: Failure; readonly code: status | undefined };

/** Chains of causes are followed so far. */
const depthMax = 16;

/**
 * What an error means to a caller. The first cause wins: what the other agent reported stands, whatever was made of it here; an
 * AbortError means its signal's reason; an error thrown while cleaning up does not replace the one that made us clean up.
 */
export function causeOf(error: unknown): Cause {
  let at = error;
  for (let depth = 0; depth < depthMax; depth++) {
    const told = toldIn(at);
    if (told !== undefined) return told;
    if (!isError(at)) break;
    if (isFerryError(at)) return knownCause(at.kind, at.message, error);
    if (isServiceError(at)) return transportCause(at);
    if (at instanceof SuppressedError) at = at.suppressed;
    else if (at.name === 'TimeoutError') return knownCause('deadline-exceeded', 'the deadline passed', error);
    else if (at.name !== 'AbortError') break;
    else if (at.cause === undefined) return knownCause('cancelled', 'the call was given up', error);
    else at = at.cause;
  }
  return knownCause('internal', 'internal error', error);
}

const knownCause = (reason: Reason, message: string, error: unknown): Cause => ({
  from: 'known',
  reason,
  message,
  error,
});

/** gRPC itself failed, not the other agent: only source agents call other agents. */
function transportCause(error: ServiceError): Cause {
  const reason: Partial<Record<status, Reason>> = {
    [status.UNAVAILABLE]: 'destination-unreachable',
    [status.DEADLINE_EXCEEDED]: 'deadline-exceeded',
    [status.CANCELLED]: 'cancelled',
  };
  return knownCause(reason[error.code] ?? 'destination-refused', `calling the other agent: ${error.message}`, error);
}

/** The earliest failure in the chain of causes that another agent, or a record, reported. */
function toldIn(error: unknown): Cause | undefined {
  let told: Cause | undefined;
  let at = error;
  for (let depth = 0; depth < depthMax && isError(at); depth++) {
    const failure = at instanceof FailureError ? at.failure : failureFromWire(at);
    if (failure !== undefined) told = { from: 'told', failure, code: isServiceError(at) ? at.code : undefined };
    at = at instanceof SuppressedError ? at.suppressed : at.cause;
  }
  return told;
}

/** What another agent, or a record, reported; undefined if nobody did. */
export function reportedFailure(error: unknown): Failure | undefined {
  const told = toldIn(error);
  return told?.from === 'told' ? told.failure : undefined;
}

/** The failure to report and to record for an error that ended something at `where`. */
export function failureOf(error: unknown, where: Where): Failure {
  return failureFrom(causeOf(error), where);
}

/** Likewise, of a cause. */
export function failureFrom(cause: Cause, where: Where): Failure {
  if (cause.from === 'told') return cause.failure;
  return {
    reason: cause.reason,
    message: cause.message,
    side: wireSide[where.side],
    phase: where.phase === undefined ? 0 : phaseNumber[where.phase],
    retryable: reasons[cause.reason].retryable,
  };
}

const wireSide: Readonly<Record<Side, WireSide>> = { source: WireSide.SIDE_SOURCE, dest: WireSide.SIDE_DEST };
