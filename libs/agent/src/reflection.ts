/**
 * Server reflection, v1 and v1alpha, answered from the descriptors that buf made of our .proto files. @grpc/reflection itself hands out
 * descriptors without dependencies, from which no client can build a message; only its two .proto files are used.
 */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ServerDuplexStream, ServiceDefinition } from '@grpc/grpc-js';
import { status, type UntypedServiceImplementation } from '@grpc/grpc-js';

type DescriptorIndex = import('./descriptor-index.ts').DescriptorIndex;

/** A service as `Server.addService` takes it. */
export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

// As @grpc/proto-loader decodes them, with defaults: all fields of the oneof are there, `messageRequest` names the one that counts.
interface ReflectionRequest {
  readonly messageRequest?: string;
  readonly fileByFilename?: string;
  readonly fileContainingSymbol?: string;
}

/** The reflection services for a server with those services; `draining` ends their streams. */
export async function reflectionServices(names: readonly string[], draining: AbortSignal): Promise<ServedService[]> {
  const { load } = await import('@grpc/proto-loader');
  const protos = join(dirname(fileURLToPath(import.meta.resolve('@grpc/reflection/package.json'))), 'build/proto');
  // Read and indexed when somebody asks for the first time: an agent's start does not wait for it.
  let index: Promise<DescriptorIndex> | undefined;
  const descriptors = (): Promise<DescriptorIndex> => (index ??= openIndex());
  return Promise.all(
    ['v1', 'v1alpha'].map(async (version): Promise<ServedService> => {
      const loaded = await load(`grpc/reflection/${version}/reflection.proto`, {
        includeDirs: [protos],
        defaults: false,
        oneofs: true,
      });
      const definition = loaded[`grpc.reflection.${version}.ServerReflection`];
      if (definition === undefined || 'format' in definition) throw new Error('@grpc/reflection has no such service');
      const answerAll = (call: ServerDuplexStream<ReflectionRequest, object>): void => {
        const end = (): void => {
          draining.removeEventListener('abort', end);
          call.end();
        };
        draining.addEventListener('abort', end, { once: true });
        call.on('data', (request: ReflectionRequest) => {
          call.pause();
          void answer(request, names, descriptors).then((response) => {
            if (!call.writableEnded) call.write({ originalRequest: request, ...response });
            call.resume();
          });
        });
        call.on('end', end);
        call.on('cancelled', end);
      };
      return { definition, implementation: { ServerReflectionInfo: answerAll } };
    }),
  );
}

async function openIndex(): Promise<DescriptorIndex> {
  const { indexDescriptors } = await import('./descriptor-index.ts');
  return indexDescriptors(await readFile(new URL(import.meta.resolve('@ferry/proto/descriptors'))));
}

async function answer(
  request: ReflectionRequest,
  names: readonly string[],
  descriptors: () => Promise<DescriptorIndex>,
): Promise<object> {
  switch (request.messageRequest) {
    case 'listServices':
      return { listServicesResponse: { service: names.map((name) => ({ name })) } };
    case 'fileByFilename':
      return files((await descriptors()).byFile(request.fileByFilename ?? ''));
    case 'fileContainingSymbol':
      return files((await descriptors()).bySymbol(request.fileContainingSymbol ?? ''));
    case 'allExtensionNumbersOfType':
    case 'fileContainingExtension':
      return failure(status.NOT_FOUND, 'none of our messages has extensions');
    case undefined:
    default:
      return failure(status.UNIMPLEMENTED, 'not a reflection request that we know');
  }
}

const files = (found: readonly Uint8Array[] | undefined): object =>
  found === undefined
    ? failure(status.NOT_FOUND, 'not one of our files or symbols')
    : { fileDescriptorResponse: { fileDescriptorProto: found } };

const failure = (errorCode: status, errorMessage: string): object => ({ errorResponse: { errorCode, errorMessage } });
