export { QmpError, type QmpErrorKind } from './errors.ts';
