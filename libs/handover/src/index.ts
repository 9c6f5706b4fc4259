export { HandoverError, type HandoverErrorKind } from './errors.ts';
export { FencedIncarnations } from './fenced.ts';
export {
  type Addresses,
  type Decision,
  type GuestRan,
  type Handover,
  HandoverRegister,
  type HandoverUnder,
  type Verdict,
} from './register.ts';
export { type Claim, type Owner, OwnerRecords } from './owner.ts';
export { registerCalls } from './register-call.ts';
export {
  HandoverJournals,
  journalWrites,
  type Journal,
  type Journals,
  readUnlessDamaged,
  type Unfinished,
} from './journal.ts';
export type { HandoverEntry, NotedOwner } from './journal-entry.ts';
export { HostNames, type Registration } from './hosts.ts';
