/** Failures as they travel: a google.rpc.Status with an ErrorInfo, in the trailer in which gRPC libraries of all languages look for one. */
import { type Failure, Phase, phaseFromJSON, Side, sideFromJSON } from '@ferry/proto/ferry/v1/migration';
import { ErrorInfo } from '@ferry/proto/google/rpc/error_details';
import { Status } from '@ferry/proto/google/rpc/status';
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';

export const detailsTrailer = 'grpc-status-details-bin';
/** Whose reasons they are. */
export const errorDomain = 'ferry.v1';
export const errorInfoType = 'type.googleapis.com/google.rpc.ErrorInfo';

/** By its looks: what Node itself throws is no instance of a test's Error, and a DOMException of none. */
export const isError = (error: unknown): error is Error =>
  typeof error === 'object' && error !== null && 'name' in error && 'message' in error;

/** Whether gRPC or the other end ended the call with an error, as opposed to a mistake of ours. */
export const isServiceError = (error: unknown): error is ServiceError =>
  isError(error) &&
  'code' in error &&
  typeof error.code === 'number' &&
  'metadata' in error &&
  error.metadata instanceof Metadata;

/** Whether there was nobody to answer. */
export const isUnavailable = ({ code }: ServiceError): boolean => code === status.UNAVAILABLE;

export const isPastDeadline = ({ code }: ServiceError): boolean => code === status.DEADLINE_EXCEEDED;

/** What an agent said about why a call failed; undefined if the error is not from an agent of ours. */
export function failureFromWire(error: unknown): Failure | undefined {
  if (!isServiceError(error)) return undefined;
  const [trailer] = error.metadata.get(detailsTrailer);
  if (!(trailer instanceof Uint8Array)) return undefined;
  try {
    const { message, details } = Status.decode(trailer);
    for (const { typeUrl, value } of details) {
      if (typeUrl !== errorInfoType) continue;
      const info = ErrorInfo.decode(value);
      if (info.domain === errorDomain && info.reason !== '') return failureOfInfo(message, info);
    }
  } catch {
    // Not what it says it is: then it tells us nothing.
  }
  return undefined;
}

function failureOfInfo(message: string, { reason, metadata }: ErrorInfo): Failure {
  const side = sideFromJSON(`SIDE_${(metadata['side'] ?? '').toUpperCase()}`);
  const phase = phaseFromJSON(`PHASE_${(metadata['phase'] ?? '').toUpperCase().replaceAll('-', '_')}`);
  return {
    reason,
    message,
    side: side === Side.UNRECOGNIZED ? Side.SIDE_UNSPECIFIED : side,
    phase: phase === Phase.UNRECOGNIZED ? Phase.PHASE_UNSPECIFIED : phase,
    retryable: metadata['retryable'] === 'true',
  };
}
