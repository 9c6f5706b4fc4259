export { build } from './build.ts';
export {
  decodeCookie,
  encodeCookie,
  forged,
  restoreMemoryKey,
  sealOf,
  wasGivenOurs,
  withoutMemoryKey,
  type CookieOrigin,
} from './cookies.ts';
export { MigrationError, type MigrationErrorKind } from './errors.ts';
export { capabilitiesToSet, limitsOf, type Limits } from './options.ts';
export {
  encryptionAsked,
  encryptionExpected,
  type EncryptionRules,
  type MemoryEncryption,
} from './memory-encryption.ts';
export {
  isPhase,
  openingPhase,
  phaseNumber,
  phases,
  recoveryOf,
  type Phase,
  type PhaseRule,
  type Recovery,
  type Side,
} from './phases.ts';
export { driveMigration, type DestCalls, type Drive, type SourceCalls } from './protocol.ts';
export {
  formatMigrationUri,
  listenProblem,
  parseMigrationUri,
  socketProblem,
  type MigrationEndpoints,
  type MigrationUri,
} from './uri.ts';
