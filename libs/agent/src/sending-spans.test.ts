import { trace } from '@opentelemetry/api';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { expect, it } from '@jest/globals';
import { SendingSpans } from './sending-spans.ts';

const exporter = new InMemorySpanExporter();
trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }));

it('a guest that never converges has a bounded number of spans, the last of which is of all further passes', () => {
  const spans = new SendingSpans();
  for (let pass = 1; pass <= 10_000; pass += 1) spans.pass(pass, pass * 1_000_000);
  spans.word('cancelling', 10_001_000_000);
  // What QEMU does once it is told to stop is no pass of the migration's.
  spans.pass(10_001, 10_001_500_000);
  spans.emit(10_002_000_000);
  const made = exporter.getFinishedSpans();
  expect(made.length).toBe(100);
  expect(made.at(-1)).toMatchObject({
    name: 'migration.pass',
    attributes: { 'ferry.pass': 100, 'ferry.pass_last': 10_000 },
    startTime: [100, 0],
    endTime: [10_001, 0],
  });
});
