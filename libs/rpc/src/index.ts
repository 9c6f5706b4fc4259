export { call, stream, type CallSettings, type Method } from './calls.ts';
export {
  detailsTrailer,
  errorDomain,
  errorInfoType,
  failureFromWire,
  isError,
  isPastDeadline,
  isServiceError,
  isUnavailable,
} from './failures.ts';
export { formatHostPort, type HostPort, isLoopback, parseHostPort } from './address.ts';
