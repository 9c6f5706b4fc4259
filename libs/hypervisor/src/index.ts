export { HypervisorError, type HypervisorErrorKind } from './errors.ts';
