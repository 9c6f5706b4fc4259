export { answerCommand } from './agent-command.ts';
export { refuseOtherRequest, requestDigest } from './request-digest.ts';
export { BlackoutGate } from './blackout-gate.ts';
export { SharedAnswers } from './shared-answers.ts';
export { openAudit } from './audit.ts';
export { Callers, currentCaller, requesterNow } from './callers.ts';
export { permissions, refuseForeignAgent, speaksFor } from './permissions.ts';
export { logNotes } from './document-notes.ts';
export { domainLookUp } from './domain-look-up.ts';
export { visibleDomains } from './domain-rules.ts';
export { edgeOf, type Call, type Edge, type EdgeOptions, type PhaseOf } from './call.ts';
export { dial, follow, invoke, invokeAgain, type InvokeOptions, standBy, type StandingBy, warm } from './client.ts';
export { readConfig, type Config, type TlsFiles } from './config.ts';
export { AgentError, type AgentErrorKind } from './errors.ts';
export { logOf, openLog, type Log, type LogFields } from './log.ts';
export { observe } from './metrics.ts';
export { SendingSpans } from './sending-spans.ts';
export { isUnconnected, type LookUp, reachProblem } from './reach.ts';
export { agentRuns } from './one-daemon.ts';
export { saidIfLong } from './said-if-long.ts';
export { serve, type ServedService, type ServeOptions, type Server } from './serve.ts';
export { HeldMigrations, type HeldMigrationsOptions } from './held-migrations.ts';
export type { PhaseRun } from './phase-run.ts';
export { type Held, labelsOf } from './held.ts';
export type { Codec } from './replies.ts';
export { domainStateOf } from './domain-state.ts';
export { Ongoing, OngoingMigrations, nowUs, type OngoingStart, type OutcomeWord } from './ongoing.ts';
export {
  assertOwner,
  claimSent,
  journaledOf,
  newSentCopy,
  notedOf,
  recallSent,
  type SentCopy,
  settledByOwner,
  settleOwner,
  startedElsewhere,
} from './sent-copies.ts';
export { beginHandover, handoverOf } from './handover-of.ts';
export { resolveByWord, type Resolvable } from './resolution.ts';
export { untilAsked } from './until-asked.ts';
export { openCredentials, type Credentials } from './tls.ts';
export { describeRecord, knownMigration, startOf, type Knowledge } from './known-migrations.ts';
export { openParts, type Parts } from './parts.ts';
export { openRunKeys, type RunKeys, runKeysOf } from './run-keys.ts';
export { Peers } from './peers.ts';
