export { HandoverError, type HandoverErrorKind } from './errors.ts';
export { type Decision, type Handover, HandoverRegister, type HandoverUnder, type Owner } from './register.ts';
export { type HandoverEntry, HandoverJournals } from './journal.ts';
