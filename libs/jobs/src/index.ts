export { JobError, type JobErrorKind } from './errors.ts';
