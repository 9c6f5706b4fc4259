import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';

/** A service as `Server.addService` takes it. */
export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}
