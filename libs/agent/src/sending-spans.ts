/**
 * The spans of a guest's sending that no command is: one for each pass over its memory, and its switchover. What happens is noted by QEMU's clock while it
 * does; spans are made of it when the guest runs again.
 */
import { type Attributes, type Span, SpanStatusCode, trace } from '@opentelemetry/api';
import type { MigrationStatistics } from '@ferry/proto/ferry/v1/migration';
import { timeOf } from './tracing.ts';

/** A migration that does not converge makes passes without end: those after so many are one span. */
const passesMax = 100;

const tracer = trace.getTracer('@ferry/agent');

interface Pass {
  readonly first: number;
  last: number;
  readonly fromUs: number;
  sentBefore: bigint;
  figures: Partial<MigrationStatistics>;
}

interface Word {
  readonly status: string;
  readonly atUs: number;
}

export class SendingSpans {
  readonly #passes: Pass[] = [];
  readonly #words: Word[] = [];
  /** When the last pass was over. */
  #passesOverUs: number | undefined;
  #stoppedAtUs: number | undefined;

  /** QEMU begins to go over the guest's memory again. */
  pass(number: number, atUs: number): void {
    if (this.#passesOverUs !== undefined) return;
    const last = this.#passes.at(-1);
    if (last !== undefined && this.#passes.length >= passesMax) last.last = number;
    else {
      const sentBefore = last?.figures.memoryTransferredBytes ?? last?.sentBefore ?? 0n;
      this.#passes.push({ first: number, last: number, fromUs: atUs, sentBefore, figures: {} });
    }
  }

  /** QEMU's figures, of the pass that it is at. */
  figures(statistics: Partial<MigrationStatistics>): void {
    const last = this.#passes.at(-1);
    if (last !== undefined && this.#passesOverUs === undefined) last.figures = statistics;
  }

  /** QEMU has a new word for its migration; the switchover begins with `pre-switchover`. */
  word(status: string, atUs: number): void {
    if (status === 'active' || status === 'setup') return;
    this.#passesOverUs ??= atUs;
    this.#words.push({ status, atUs });
  }

  /** The guest was stopped for it. */
  stopped(atUs: number | undefined): void {
    this.#stoppedAtUs = atUs;
  }

  /** Makes the spans, below the one that is active. */
  emit(endedAtUs: number): void {
    const passesOverUs = this.#passesOverUs ?? endedAtUs;
    for (const [i, pass] of this.#passes.entries()) {
      const endUs = this.#passes[i + 1]?.fromUs ?? passesOverUs;
      emit('migration.pass', pass.fromUs, endUs, passAttributes(pass));
    }
    const begins = this.#words.find(({ status }) => status === 'pre-switchover');
    if (begins === undefined) return;
    const last = this.#words.at(-1);
    const span = (made: Span): void => {
      for (const { status, atUs } of this.#words) made.addEvent(`qemu ${status}`, timeOf(atUs));
      if (last?.status === 'completed') return;
      made.setStatus({ code: SpanStatusCode.ERROR, message: `QEMU’s last word is ${last?.status}` });
    };
    const isOver = last?.status === 'completed' || last?.status === 'failed' || last?.status === 'cancelled';
    const attributes = { 'ferry.side': 'source', 'ferry.guest_ran': this.#stoppedAtUs !== undefined };
    const fromUs = this.#stoppedAtUs ?? begins.atUs;
    emit('migration.switchover', fromUs, isOver ? last.atUs : endedAtUs, attributes, span);
  }
}

function passAttributes({ first, last, sentBefore, figures }: Pass): Attributes {
  const { memoryTransferredBytes: sent, dirtyBytesPerSecond, bytesPerSecond, memoryRemainingBytes } = figures;
  const known = (name: string, value: bigint | undefined): Attributes =>
    value === undefined ? {} : { [name]: Number(value) };
  return {
    'ferry.pass': first,
    ...(last === first ? {} : { 'ferry.pass_last': last }),
    ...known('ferry.bytes', sent === undefined ? undefined : sent - sentBefore),
    ...known('ferry.remaining_bytes', memoryRemainingBytes),
    ...known('ferry.dirty_bytes_per_second', dirtyBytesPerSecond),
    ...known('ferry.bytes_per_second', bytesPerSecond),
  };
}

function emit(name: string, fromUs: number, toUs: number, attributes: Attributes, fill?: (span: Span) => void): void {
  const span = tracer.startSpan(name, { startTime: timeOf(fromUs), attributes });
  fill?.(span);
  span.end(timeOf(Math.max(fromUs, toUs)));
}
