import { once } from 'node:events';
import { createServer } from 'node:http';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

interface CollectedSpan {
  readonly service: string;
  readonly name: string;
  readonly trace: string;
  readonly id: string;
  readonly parent: string;
  /** Everything else, as bytes, to look for what must not be there. */
  readonly raw: string;
}

/** An OTLP collector that keeps the spans it gets. */
export interface Collector extends AsyncDisposable {
  readonly endpoint: string;
  readonly spans: readonly CollectedSpan[];
  /** Exports of metrics, as bytes. */
  readonly metrics: readonly string[];
}

/** Starts one on loopback. */
export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const metrics: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => void chunks.push(chunk));
    request.on('end', () => {
      if (request.url === '/v1/traces') spans.push(...spansIn(Buffer.concat(chunks)));
      if (request.url === '/v1/metrics') metrics.push(Buffer.concat(chunks).toString());
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    spans,
    metrics,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** The length-delimited fields of a message, by number. */
function fieldsOf(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, Uint8Array[]>();
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) fields.set(number, [...(fields.get(number) ?? []), reader.bytes()]);
    else reader.skip(wireType, number);
  }
  return fields;
}

const inner = (bytes: Uint8Array | undefined, number: number): Uint8Array[] =>
  fieldsOf(bytes ?? new Uint8Array()).get(number) ?? [];
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString('hex');

/** ExportTraceServiceRequest: resource_spans = 1 { resource = 1 { attributes = 1 }, scope_spans = 2 { spans = 2 } }. */
function spansIn(bytes: Uint8Array): CollectedSpan[] {
  return inner(bytes, 1).flatMap((resourceSpans) => {
    const attributes = inner(inner(resourceSpans, 1)[0], 1);
    const named = attributes.find((attribute) => text(inner(attribute, 1)[0]) === 'service.name');
    const service = text(inner(inner(named, 2)[0], 1)[0]);
    return inner(resourceSpans, 2)
      .flatMap((scopeSpans) => inner(scopeSpans, 2))
      .map((span) => {
        const [trace, id, parent, name] = [1, 2, 4, 5].map((number) => inner(span, number)[0]);
        return { service, name: text(name), trace: hex(trace), id: hex(id), parent: hex(parent), raw: text(span) };
      });
  });
}
