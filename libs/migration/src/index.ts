export { MigrationError, type MigrationErrorKind } from './errors.ts';
