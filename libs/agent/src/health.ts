/** The standard health service (grpc.health.v1), of the server as a whole ('') and of each of its services. */
import type { ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import { type sendUnaryData, status } from '@grpc/grpc-js';
import {
  type HealthCheckRequest,
  HealthCheckResponse_ServingStatus as Status,
  type HealthCheckResponse,
  HealthService,
} from '@ferry/proto/grpc/health/v1/health';
import type { ServedService } from './served-service.ts';

export class Health {
  readonly #status = new Map<string, Status>();
  readonly #watches = new Map<(status: Status) => void, string>();

  set(service: string, isServing: boolean): void {
    const now = isServing ? Status.SERVING : Status.NOT_SERVING;
    this.#status.set(service, now);
    for (const [tell, watched] of this.#watches) if (watched === service) tell(now);
  }

  /** Watches, which never end by themselves, end when `stopping` aborts. */
  service(stopping: AbortSignal): ServedService {
    return {
      definition: HealthService,
      implementation: {
        check: (
          { request: { service } }: ServerUnaryCall<HealthCheckRequest, HealthCheckResponse>,
          callback: sendUnaryData<HealthCheckResponse>,
        ) => {
          const found = this.#status.get(service);
          if (found !== undefined) callback(null, { status: found });
          else callback({ code: status.NOT_FOUND, details: `there is no service ${JSON.stringify(service)} here` });
        },
        watch: (call: ServerWritableStream<HealthCheckRequest, HealthCheckResponse>) => {
          const { service } = call.request;
          const tell = (now: Status): void => void call.write({ status: now });
          const end = (): void => void call.end();
          this.#watches.set(tell, service);
          stopping.addEventListener('abort', end, { once: true });
          call.once('cancelled', () => {
            this.#watches.delete(tell);
            stopping.removeEventListener('abort', end);
          });
          tell(this.#status.get(service) ?? Status.SERVICE_UNKNOWN);
        },
        list: (_call: unknown, callback: sendUnaryData<{ statuses: Record<string, HealthCheckResponse> }>) => {
          const entries = [...this.#status].map(([service, found]) => [service, { status: found }] as const);
          callback(null, { statuses: Object.fromEntries(entries) });
        },
      },
    };
  }
}
