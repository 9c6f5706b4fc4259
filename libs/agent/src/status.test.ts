import { describe, expect, it } from '@jest/globals';
import { DomainXmlError } from '@ferry/domain-xml';
import { HypervisorError } from '@ferry/hypervisor';
import { JobError } from '@ferry/jobs';
import { MigrationError } from '@ferry/migration';
import { Failure, Phase, Side } from '@ferry/proto/ferry/v1/migration';
import { ErrorInfo } from '@ferry/proto/google/rpc/error_details';
import { Status } from '@ferry/proto/google/rpc/status';
import { detailsTrailer, FailureError, failureFromWire, failureOf, toStatus } from '@ferry/rpc';
import { Metadata, status } from '@grpc/grpc-js';
import { AgentError } from './errors.ts';

const where = { side: 'dest', phase: 'prepare' } as const;

/** What a client decodes from the trailer. */
function detailsOf(error: { metadata: Metadata }): { status: Status; info: ErrorInfo } {
  const [trailer] = error.metadata.get(detailsTrailer);
  if (!(trailer instanceof Uint8Array)) throw new Error('no details');
  const decoded = Status.decode(trailer);
  return { status: decoded, info: ErrorInfo.decode(decoded.details[0]?.value ?? Buffer.alloc(0)) };
}

describe('toStatus', () => {
  it('gives code, reason, side, phase and whether to try again', () => {
    const error = toStatus(new HypervisorError('disk-missing', 'no /x here'), where, { migration_id: 'm' });
    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION, details: 'no /x here', logId: undefined });
    const details = detailsOf(error);
    expect(details.status).toMatchObject({ code: status.FAILED_PRECONDITION, message: 'no /x here' });
    expect(details.info).toEqual({
      reason: 'disk-missing',
      domain: 'ferry.v1',
      metadata: { side: 'dest', phase: 'prepare', retryable: 'false', migration_id: 'm' },
    });
  });

  it('keeps what nobody foresaw to ourselves', () => {
    const error = toStatus(new TypeError('secret'), where);
    expect(error.code).toBe(status.INTERNAL);
    expect(error.logId).toMatch(/^[0-9a-f]{8}$/);
    expect(error.details).toContain(error.logId);
    expect(error.details).not.toContain('secret');
    expect(detailsOf(error).info.metadata['log_id']).toBe(error.logId);
    expect(detailsOf(error).info.reason).toBe('internal');
  });

  it.each([
    [new DOMException('late', 'TimeoutError'), status.DEADLINE_EXCEEDED, 'deadline-exceeded'],
    [new DOMException('gone', 'AbortError'), status.CANCELLED, 'cancelled'],
    [new AgentError('draining', 'bye'), status.UNAVAILABLE, 'draining'],
    [abortedBy(new AgentError('deadline-exceeded', 'late')), status.DEADLINE_EXCEEDED, 'deadline-exceeded'],
    [abortedBy(abortedBy(new JobError('lease-lost', 'lost'))), status.ABORTED, 'lease-lost'],
    [abortedBy(new DOMException('late', 'TimeoutError')), status.DEADLINE_EXCEEDED, 'deadline-exceeded'],
    [new SuppressedError(new TypeError('while closing'), new JobError('job-held', 'held')), status.ABORTED, 'job-held'],
    [new DomainXmlError('xml-malformed', []), status.INVALID_ARGUMENT, 'xml-malformed'],
    ['not even an error', status.INTERNAL, 'internal'],
    [undefined, status.INTERNAL, 'internal'],
  ])('%#', (error, code, reason) => {
    expect(toStatus(error, where)).toMatchObject({ code, reason });
  });

  it('does not follow a chain of causes for ever', () => {
    const error = abortedBy(undefined);
    error.cause = error;
    expect(toStatus(error, where).code).toBe(status.INTERNAL);
  });

  it('fits into the 8 KiB that trailers may have', () => {
    const error = toStatus(new MigrationError('migration-failed', '☠'.repeat(100_000)), where);
    const [trailer] = error.metadata.get(detailsTrailer);
    const bytes = encodeURIComponent(error.details).length + (Buffer.from(trailer ?? '').length * 4) / 3;
    expect(bytes).toBeLessThan(7_500);
    expect(error.details).toMatch(/^☠+ …$/);
  });
});

describe('failures from another agent', () => {
  const theirs = toStatus(new HypervisorError('not-enough-memory', 'only 3 MiB'), where);
  const failure: Failure = {
    reason: 'not-enough-memory',
    message: 'only 3 MiB',
    side: Side.SIDE_DEST,
    phase: Phase.PHASE_PREPARE,
    retryable: true,
  };

  it('are read from the trailer', () => {
    expect(failureFromWire(theirs)).toEqual(failure);
  });

  it('are the first cause, whatever we make of them', () => {
    const here = { side: 'source', phase: 'perform3' } as const;
    const ours = new MigrationError('destination-refused', 'Prepare failed', { cause: theirs });
    expect(failureOf(ours, here)).toEqual(failure);
    expect(failureOf(abortedBy(ours), here)).toEqual(failure);
    const relayed = toStatus(ours, here);
    expect(relayed.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(failureFromWire(relayed)).toEqual(failure);
  });

  it('can be answered from a record', () => {
    const error = toStatus(new FailureError(failure), { side: 'source' });
    expect(error.code).toBe(status.RESOURCE_EXHAUSTED);
    expect(failureFromWire(error)).toEqual(failure);
    expect(toStatus(new FailureError({ ...failure, reason: 'from-a-newer-agent' }), where).code).toBe(status.UNKNOWN);
  });

  it.each([
    [status.UNAVAILABLE, 'destination-unreachable'],
    [status.DEADLINE_EXCEEDED, 'deadline-exceeded'],
    [status.UNIMPLEMENTED, 'destination-refused'],
  ])('gRPC itself: %s', (code, reason) => {
    const error = Object.assign(new Error('x'), { code, details: 'x', metadata: new Metadata() });
    expect(failureFromWire(error)).toBeUndefined();
    expect(failureOf(error, { side: 'source' })).toMatchObject({ reason, side: Side.SIDE_SOURCE });
  });

  it.each([Buffer.from([0xff, 0xff, 0xff]), Buffer.alloc(0), Buffer.from([0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f])])(
    'a damaged trailer tells nothing',
    (bytes) => {
      const metadata = new Metadata();
      metadata.set(detailsTrailer, bytes);
      const error = Object.assign(new Error('x'), { code: status.ABORTED, details: 'x', metadata });
      expect(failureFromWire(error)).toBeUndefined();
    },
  );
});

/** As Node's own waits reject. */
function abortedBy(cause: unknown): Error {
  const error = new Error('The operation was aborted', { cause });
  error.name = 'AbortError';
  return error;
}
