export { HandoverError, type HandoverErrorKind } from './errors.ts';
