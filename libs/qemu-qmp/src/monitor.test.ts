import {
  INVALID_SPAN_CONTEXT,
  type Span,
  type SpanStatus,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { afterEach, describe, expect, it } from '@jest/globals';
import { FakeQemu } from './fake.ts';
import { Monitor } from './monitor.ts';

const soon = () => AbortSignal.timeout(30_000);

interface Recorded {
  readonly name: string;
  ended: boolean;
  status?: SpanStatus;
}

/** A tracer that writes down what its spans were told. */
function recorder(spans: Recorded[]): Tracer {
  const startSpan = (name: string): Span => {
    const recorded: Recorded = { name, ended: false };
    spans.push(recorded);
    const span = trace.wrapSpanContext(INVALID_SPAN_CONTEXT);
    span.end = () => {
      recorded.ended = true;
    };
    span.setStatus = (status) => {
      recorded.status = status;
      return span;
    };
    return span;
  };
  return {
    startSpan,
    startActiveSpan: () => {
      throw new Error('not used');
    },
  };
}

describe('a command', () => {
  afterEach(() => trace.disable());

  it('is a span, ended with it, failed when it failed', async () => {
    const spans: Recorded[] = [];
    trace.setGlobalTracerProvider({ getTracer: () => recorder(spans) });
    await using qemu = new FakeQemu();
    await using monitor = await Monitor.open(qemu.connect(), soon());
    await monitor.execute('query-kvm', {}, soon());
    await monitor.execute('qom-get', { path: '/', property: 'no-such' }, soon()).catch(() => undefined);
    expect(spans).toEqual([
      { name: 'qmp query-kvm', ended: true },
      {
        name: 'qmp qom-get',
        ended: true,
        status: { code: SpanStatusCode.ERROR, message: expect.stringContaining('no-such') },
      },
    ]);
  });

  it('is sent before execute() returns, so that a listener can act in the blackout at once', async () => {
    await using qemu = new FakeQemu();
    const wire = qemu.connect();
    await using monitor = await Monitor.open(wire, soon());
    const sent: string[] = [];
    const write = wire.write.bind(wire);
    wire.write = (chunk: unknown) => (sent.push(String(chunk)), write(chunk));
    const reply = monitor.execute('migrate-continue', { state: 'pre-switchover' }, soon());
    expect(sent).toEqual(['{"execute":"migrate-continue","id":1,"arguments":{"state":"pre-switchover"}}\n']);
    await reply.catch(() => undefined);
  });

  it('that is prepared leaves only its end to send, and is refused when another goes first', async () => {
    await using qemu = new FakeQemu();
    const wire = qemu.connect();
    await using monitor = await Monitor.open(wire, soon());
    const sent: string[] = [];
    const write = wire.write.bind(wire);
    wire.write = (chunk: unknown) => (sent.push(String(chunk)), write(chunk));
    using ready = monitor.prepare('migrate-continue', { state: 'pre-switchover' });
    expect(() => monitor.prepare('cont', {})).toThrow('migrate-continue is prepared');
    await monitor.execute('query-kvm', {}, soon());
    const head = '{"execute":"migrate-continue","id":1,"arguments":{"state":"pre-switchover"';
    expect(sent.splice(0)).toEqual([head, ',"":0}}\n', '{"execute":"query-kvm","id":2}\n', head]);
    await ready.send(soon()).catch(() => undefined);
    expect(sent).toEqual(['}}\n']);
    await expect(ready.send(soon())).rejects.toThrow('sent or disposed before');
  });

  it('that was withdrawn and is carried out all the same ends the conversation', async () => {
    const qemu = new FakeQemu();
    await using monitor = await Monitor.open(qemu.connect(), soon());
    qemu.refuseUnknown = false;
    monitor.prepare('cont', {})[Symbol.dispose]();
    const asked = monitor.execute('query-status', {}, soon());
    await expect(asked).rejects.toMatchObject({ kind: 'qemu-protocol', message: expect.stringContaining('withdrawn') });
  });

  it('carries no arguments when it has none', async () => {
    await using qemu = new FakeQemu();
    await using monitor = await Monitor.open(qemu.connect(), soon());
    await monitor.execute('query-named-block-nodes', { flat: undefined }, soon()).catch(() => undefined);
    await monitor.execute('query-named-block-nodes', { flat: true }, soon()).catch(() => undefined);
    expect(qemu.received.slice(1)).toEqual([
      { name: 'query-named-block-nodes', args: {} },
      { name: 'query-named-block-nodes', args: { flat: true } },
    ]);
  });
});

it('asks a QEMU of one version for its schema once', async () => {
  await using qemu = new FakeQemu({ major: 8, minor: 2, micro: 77 });
  await using monitor = await Monitor.open(qemu.connect(), soon());
  expect(await monitor.supports({ command: 'cont' }, soon())).toBe(true);
  await using again = await Monitor.open(qemu.connect(), soon());
  expect(await again.supports({ command: 'migrate', argument: 'uri' }, soon())).toBe(true);
  expect(qemu.received.filter(({ name }) => name === 'query-qmp-schema')).toHaveLength(1);
});
