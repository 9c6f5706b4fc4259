export { call, stream, type CallSettings, type Method } from './calls.ts';
export {
  detailsTrailer,
  failureFromWire,
  isPastDeadline,
  isServiceError,
  isUnavailable,
} from './failures.ts';
export { formatHostPort, type HostPort, isLoopback, parseHostPort } from './address.ts';
export { FailureError, failureOf, reportedFailure, type Where } from './causes.ts';
export { type CallFailure, toStatus } from './status.ts';
