import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { ATTR_DB_OPERATION_NAME, ATTR_DB_SYSTEM_NAME, ATTR_ERROR_TYPE } from '@opentelemetry/semantic-conventions';
import type { Redis } from 'ioredis';

const tracer = trace.getTracer('@ferry/redis');

/** Gives each command within a trace its span, by the command's name alone: arguments may be anything. */
export function traceCommands(redis: Redis): void {
  const send = redis.sendCommand.bind(redis);
  redis.sendCommand = (command, ...rest) => {
    if (trace.getActiveSpan() === undefined) return send(command, ...rest);
    const attributes = { [ATTR_DB_SYSTEM_NAME]: 'redis', [ATTR_DB_OPERATION_NAME]: command.name };
    const span = tracer.startSpan(command.name, { kind: SpanKind.CLIENT, attributes });
    // One that was given up may be answered later: a promise is settled once.
    command.promise.then(
      () => span.end(),
      (error: Error) => {
        span.setAttribute(ATTR_ERROR_TYPE, error.name);
        span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
        span.end();
      },
    );
    return send(command, ...rest);
  };
}
