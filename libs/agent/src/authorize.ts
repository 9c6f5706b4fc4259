/** Decides on a call's headers whether its certificate may make it, refuses what is no message, and writes the audit trail. */
import { MigrationError, type Side } from '@ferry/migration';
import { detailsTrailer, failureFromWire, toStatus } from '@ferry/rpc';
import {
  type Metadata,
  ResponderBuilder,
  type ServiceDefinition,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from '@grpc/grpc-js';
import type { AuditLog } from './audit.ts';
import type { Callers } from './callers.ts';
import { AgentError } from './errors.ts';
import { refuseUnlessAllowed } from './permissions.ts';

/** What stands in the place of a request that could not be decoded. */
class Malformed {
  readonly why: string;

  constructor(why: string) {
    this.why = why;
  }
}

/** The same service; bytes that are no message of its own reach `authorize`, where gRPC itself would answer INTERNAL. */
export function decodingAll(definition: ServiceDefinition): ServiceDefinition {
  const tolerant = (decode: (bytes: Buffer) => unknown) => (bytes: Buffer) => {
    try {
      return decode(bytes);
    } catch (error) {
      return new Malformed(error instanceof Error ? error.message : String(error));
    }
  };
  return Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [
      name,
      { ...method, requestDeserialize: tolerant(method.requestDeserialize) },
    ]),
  );
}

export interface AuthorizeOptions {
  readonly side: Side;
  readonly callers: Pick<Callers, 'of'>;
  readonly audit: AuditLog;
}

interface Ended {
  readonly code?: status | null | undefined;
  readonly metadata?: Metadata | null | undefined;
  readonly details?: string | null | undefined;
}

/** The answer is on its way first. */
const writeAfterMs = 2;

export function authorize({ side, callers, audit }: AuthorizeOptions): ServerInterceptor {
  return ({ path }, call) => {
    const startedMs = performance.now();
    const caller = callers.of(call.getPeer());
    let about: About = {};
    let written = false;
    const write = (ended: Ended): void => {
      if (written) return;
      written = true;
      const tookMs = Math.round(performance.now() - startedMs);
      setTimeout(() => {
        const code = status[ended.code ?? status.UNKNOWN] ?? String(ended.code);
        audit.call(caller, { method: path, ...about, code, reason: reasonOf(ended), tookMs });
      }, writeAfterMs);
    };
    const refuse = (error: unknown): void => {
      const refusal = toStatus(error, { side });
      write(refusal);
      call.sendStatus(refusal);
    };
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        try {
          refuseUnlessAllowed(caller, path);
          refuseCompressed(call);
        } catch (error) {
          refuse(error);
          return;
        }
        next(metadata);
      })
      .withOnReceiveMessage((message: unknown, next) => {
        if (message instanceof Malformed) {
          refuse(new MigrationError('invalid-request', `this is no request of ${path}: ${message.why}`));
          return;
        }
        about = aboutOf(message);
        next(message);
      })
      .withOnCancel(() => write({ code: status.CANCELLED }))
      .build();
    const responder = new ResponderBuilder()
      .withStart((next) => next(listener))
      .withSendStatus((ended, next) => {
        write(ended);
        next(ended);
      })
      .build();
    return new ServerInterceptingCall(call, responder);
  };
}

/** A few kilobytes may inflate to the largest message allowed. grpc-js removes the header before it shows the rest to anybody. */
function refuseCompressed(call: object): void {
  const encoding = 'incomingEncoding' in call ? call.incomingEncoding : 'identity';
  if (encoding === 'identity') return;
  throw new AgentError(
    'compression-unsupported',
    `messages compressed with ${JSON.stringify(encoding)} are not read: send them as they are`,
  );
}

interface About {
  readonly migrationId?: string;
  readonly domain?: string;
}

const charsMax = 255;

/** What a request names, as it was given: it may be refused for just that. */
function aboutOf(message: unknown): About {
  if (typeof message !== 'object' || message === null) return {};
  const { migrationId, domain, request } = message as Record<string, unknown>;
  // A call that was opened ahead of its request.
  if (typeof request === 'object' && request !== null && 'value' in request) return aboutOf(request.value);
  return {
    ...(typeof migrationId === 'string' ? { migrationId: migrationId.slice(0, charsMax) } : {}),
    ...(typeof domain === 'string' ? { domain: domain.slice(0, charsMax) } : {}),
  };
}

function reasonOf({ code, metadata, details }: Ended): string | undefined {
  if (code === status.OK) return undefined;
  if (metadata === undefined || metadata === null || metadata.get(detailsTrailer).length === 0) return undefined;
  const error = Object.assign(new Error(details ?? ''), { code: code ?? status.UNKNOWN, metadata });
  return failureFromWire(error)?.reason;
}
