/** A collector of our own: takes spans as OpenTelemetry's exporters send them (OTLP/HTTP, protobuf) and keeps what a trace's shape is made of. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';

/** A span that an agent has exported. */
export interface TakenSpan {
  /** `service.instance.id`: source-agent@a. */
  readonly agent: string;
  readonly name: string;
  readonly trace: string;
  readonly id: string;
  /** Empty: nobody's child. */
  readonly parent: string;
  /** Microseconds since 1970. */
  readonly startUs: number;
  readonly endUs: number;
  /** It failed. */
  readonly isError: boolean;
  /** Numbers and truths as texts, too. */
  readonly attributes: Readonly<Record<string, string>>;
}

export interface OtlpSink extends AsyncDisposable {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  readonly endpoint: string;
  readonly spans: readonly TakenSpan[];
}

/** Starts one on loopback. */
export async function startOtlpSink(): Promise<OtlpSink> {
  const spans: TakenSpan[] = [];
  const server = createServer((request, response) => {
    buffer(request).then(
      (body) => {
        if (request.url === '/v1/traces') spans.push(...spansIn(body));
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      },
      () => response.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the sink has no address');
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    spans,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** opentelemetry/proto/collector/trace/v1: resource_spans = 1 { resource = 1 { attributes = 1 }, scope_spans = 2 { spans = 2 } }. */
function spansIn(request: Buffer): TakenSpan[] {
  return inside(request, 1).flatMap((resourceSpans) => {
    const [resource = Buffer.alloc(0)] = inside(resourceSpans, 1);
    const agent = attributesIn(inside(resource, 1))['service.instance.id'] ?? '';
    return inside(resourceSpans, 2)
      .flatMap((scopeSpans) => inside(scopeSpans, 2))
      .map((span) => {
        const [trace, id, parent, name] = [1, 2, 4, 5].map((field) => inside(span, field)[0]);
        return {
          agent,
          name: String(name),
          trace: trace?.toString('hex') ?? '',
          id: id?.toString('hex') ?? '',
          parent: parent?.toString('hex') ?? '',
          startUs: Number((inside(span, 7)[0]?.readBigUInt64LE() ?? 0n) / 1_000n),
          endUs: Number((inside(span, 8)[0]?.readBigUInt64LE() ?? 0n) / 1_000n),
          // Status { message = 2, code = 3 }, of which 2 is an error.
          isError: inside(span, 15)[0]?.includes(Buffer.from([0x18, 2])) === true,
          attributes: attributesIn(inside(span, 9)),
        };
      });
  });
}

/** KeyValue { key = 1, value = 2 { string_value = 1, bool_value = 2, int_value = 3, double_value = 4 } }. */
function attributesIn(attributes: readonly Buffer[]): Record<string, string> {
  const texts = attributes.map((attribute): [string, string] => {
    const [key, value = Buffer.alloc(0)] = [inside(attribute, 1)[0], inside(attribute, 2)[0]];
    return [String(key), valueIn(value)];
  });
  return Object.fromEntries(texts);
}

function valueIn(value: Buffer): string {
  const [text, double] = [inside(value, 1)[0], inside(value, 4)[0]];
  if (double !== undefined) return String(double.readDoubleLE());
  if (text !== undefined || value.length === 0) return String(text ?? '');
  const number = varintIn(value, 1);
  return value.readUInt8(0) >>> 3 === 2 ? String(number === 1) : String(number);
}

/** The number that is encoded there. */
function varintIn(message: Buffer, from: number): number {
  let [value, scale] = [0, 1];
  for (let at = from; ; at += 1, scale *= 128) {
    const byte = message.readUInt8(at);
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
}

/** The contents of a message's field, where it is a message, a text, bytes or a fixed64 (protobuf's encoding: wire types 2 and 1). */
function inside(message: Buffer, field: number): Buffer[] {
  const found: Buffer[] = [];
  let at = 0;
  const varint = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = message.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const wireType = tag & 7;
    // A number, eight bytes, something with its length before it, four bytes: protobuf has no others.
    if (wireType === 0) varint();
    const length = wireType === 1 ? 8 : wireType === 5 ? 4 : wireType === 2 ? varint() : 0;
    if ((wireType === 2 || wireType === 1) && tag >>> 3 === field) found.push(message.subarray(at, at + length));
    at += length;
  }
  return found;
}
