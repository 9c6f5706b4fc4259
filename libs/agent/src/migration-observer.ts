/** What metrics, trace and log say of migrations as they begin, wait and end. */
import { type Attributes, context, type Span, SpanStatusCode, trace } from '@opentelemetry/api';
import { phaseNumber } from '@ferry/migration';
import { type Doubt, type Failure, Side as WireSide } from '@ferry/proto/ferry/v1/migration';
import { contextOf, timeOf } from './tracing.ts';
import { failureLabels, hostsOf } from './migration-labels.ts';
import type { Log } from './log.ts';
import { measure } from './metrics.ts';
import type { MigrationObserver, Ongoing } from './ongoing.ts';

/** The guest's own next steps come before what is said of its migration, ms. */
const sayAfterMs = 2;

/** For the migrations of one agent. */
export function migrationObserver(host: string, log: Log): MigrationObserver {
  const counted = new WeakMap<Ongoing, bigint>();
  const countMemory = (ongoing: Ongoing): void => {
    const { memoryTransferredBytes: sent } = ongoing.statistics;
    const before = counted.get(ongoing) ?? 0n;
    if (ongoing.start.side !== 'source' || sent <= before) return;
    counted.set(ongoing, sent);
    measure('memoryTransferred', Number(sent - before), {});
  };
  return {
    started: (ongoing) => {
      ongoing.span = startSpan(ongoing);
      measure('started', 1, { 'ferry.side': ongoing.start.side });
    },
    progressed: countMemory,
    held: ({ span }, { reason, message }) => {
      span?.addEvent('hold', { 'ferry.reason': reason, 'ferry.message': message });
      measure('holds', 1, { 'ferry.reason': reason });
    },
    doubted: (ongoing, doubt) => ongoing.within(() => doubtSpan(ongoing, doubt)),
    left: (ongoing) => endSpan(host, ongoing, 'the agent was asked to end: its next life goes on'),
    ended: (ongoing) => {
      countMemory(ongoing);
      measureEnd(ongoing);
      setTimeout(() => {
        blackoutSpan(ongoing);
        endSpan(host, ongoing, ongoing.failure?.message);
        logEnd(log, host, ongoing);
      }, sayAfterMs);
    },
  };
}

function measureEnd(ongoing: Ongoing): void {
  const { start, statistics, startedAt, endedAt } = ongoing;
  const side = { 'ferry.side': start.side };
  const labels = failureLabels(ongoing);
  measure('ended', 1, { ...side, ...labels });
  const tookMs = Number(endedAt) - Number(startedAt);
  measure('duration', Math.max(0, tookMs) / 1e3, { ...side, 'ferry.outcome': labels['ferry.outcome'] });
  const { blackoutUs, controlSourceUs, controlDestUs } = statistics;
  // The source's figures have the destination's in them, which counts them itself.
  if (start.side === 'source' && blackoutUs > 0n) measure('blackout', Number(blackoutUs) / 1e6, {});
  const controlUs = start.side === 'source' ? controlSourceUs : controlDestUs;
  if (controlUs > 0n) measure('controlPlane', Number(controlUs) / 1e6, side);
}

function logEnd(log: Log, host: string, ongoing: Ongoing): void {
  const { start, statistics, startedAt, endedAt, failure, outcomeWord: outcome } = ongoing;
  const { migrationId, domainUuid: domain, domainName, side, protocol, requester = '' } = start;
  const line = {
    event: 'migration-ended',
    migrationId,
    domain,
    domainName,
    side,
    protocol,
    outcome,
    reason: failure?.reason ?? '',
    ...hostsOf(host, ongoing),
    tookMs: Number(endedAt) - Number(startedAt),
    downtimeMs: Number(statistics.blackoutUs) / 1e3,
    bytes: Number(statistics.memoryTransferredBytes),
    requester,
  };
  log[outcome === 'completed' || outcome === 'cancelled' ? 'info' : 'warn'](line, 'migration ended');
}

const tracer = trace.getTracer('@ferry/agent');

/** A migration's own span: below the call that has begun it, or, where this agent's life before has, in the same trace. */
function startSpan({ start, startedAt }: Ongoing): Span {
  const { migrationId, domainUuid, domainName, side, protocol, requester = '', traceparent = '' } = start;
  const attributes = {
    'ferry.migration_id': migrationId,
    'ferry.domain': domainUuid,
    'ferry.domain_name': domainName,
    'ferry.side': side,
    'ferry.protocol': protocol,
    'ferry.requester': requester,
  };
  const parent = trace.getActiveSpan() === undefined && traceparent !== '' ? contextOf(traceparent) : context.active();
  return tracer.startSpan('migration', { attributes, startTime: startedAt }, parent);
}

function endSpan(host: string, ongoing: Ongoing, failed: string | undefined): void {
  const { span, statistics, failure } = ongoing;
  if (span === undefined || !span.isRecording()) return;
  const { from, to } = hostsOf(host, ongoing);
  span.setAttributes({
    'ferry.from': from,
    'ferry.to': to,
    'ferry.bytes': Number(statistics.memoryTransferredBytes),
    'ferry.passes': Number(statistics.memoryPasses),
    'ferry.blackout_ms': Number(statistics.blackoutUs) / 1e3,
    ...(ongoing.ended ? failureLabels(ongoing) : {}),
    ...(failure === undefined ? {} : whereOf(failure)),
  });
  if (failed !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failed });
  span.end();
}

/** The pause that users see, by both QEMUs' clocks: until the guest ran on the destination, or here again. */
function blackoutSpan(ongoing: Ongoing): void {
  const { start, statistics, stoppedAtUs, resumedHereAtUs } = ongoing;
  if (start.side !== 'source' || stoppedAtUs === undefined) return;
  const there = Number(statistics.resumedAtUs);
  const resumedAtUs = there === 0 ? resumedHereAtUs : there;
  if (resumedAtUs === undefined) return;
  const attributes = { 'ferry.ended_on': there === 0 ? 'source' : 'dest' };
  const startTime = timeOf(stoppedAtUs);
  ongoing.within(() => tracer.startSpan('migration.blackout', { startTime, attributes })).end(timeOf(resumedAtUs));
}

/** At once: a migration may be in doubt for days, and whoever looks for it must find it meanwhile. */
function doubtSpan({ start }: Ongoing, { cause, settledBy }: Doubt): void {
  const attributes = {
    'ferry.migration_id': start.migrationId,
    'ferry.domain': start.domainUuid,
    'ferry.domain_name': start.domainName,
    'ferry.outcome': 'in-doubt',
    'ferry.settled_by': settledBy,
    ...(cause === undefined ? {} : { 'ferry.reason': cause.reason, ...whereOf(cause) }),
  };
  const span = tracer.startSpan('migration.doubt', { attributes });
  span.setStatus({ code: SpanStatusCode.ERROR, message: cause?.message ?? '' });
  span.end();
}

const sides: Readonly<Record<number, string>> = { [WireSide.SIDE_SOURCE]: 'source', [WireSide.SIDE_DEST]: 'dest' };

/** Where in the protocol something failed. */
function whereOf({ side, phase }: Failure): Attributes {
  const name = Object.entries(phaseNumber).find(([, number]) => number === phase)?.[0];
  const failedOn = sides[side];
  return {
    ...(failedOn === undefined ? {} : { 'ferry.failed_on': failedOn }),
    ...(name === undefined ? {} : { 'ferry.failed_phase': name }),
  };
}
