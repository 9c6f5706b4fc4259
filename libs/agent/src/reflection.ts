/** Server reflection, v1 and v1alpha, answered from the descriptors that buf made of our .proto files. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionService,
} from '@ferry/proto/grpc/reflection/v1/reflection';
import { ServerReflectionService as ServerReflectionAlphaService } from '@ferry/proto/grpc/reflection/v1alpha/reflection';
import type { ServedService } from './served-service.ts';

type DescriptorIndex = import('./descriptor-index.ts').DescriptorIndex;
type Answer = ServerReflectionResponse['messageResponse'];

/** The reflection services for a server with those services; `draining` ends their streams. */
export function reflectionServices(names: readonly string[], draining: AbortSignal): ServedService[] {
  // Read and indexed when somebody asks for the first time: an agent's start does not wait for it.
  let index: Promise<DescriptorIndex> | undefined;
  const descriptors = (): Promise<DescriptorIndex> => (index ??= openIndex());
  const serverReflectionInfo = (call: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>): void => {
    const end = (): void => {
      draining.removeEventListener('abort', end);
      call.end();
    };
    draining.addEventListener('abort', end, { once: true });
    call.on('data', (request: ServerReflectionRequest) => {
      call.pause();
      void answer(request, names, descriptors).then((messageResponse) => {
        const response = { validHost: request.host, originalRequest: request, messageResponse };
        if (!call.writableEnded) call.write(response);
        call.resume();
      });
    });
    call.on('end', end);
    call.on('cancelled', end);
  };
  return [ServerReflectionService, ServerReflectionAlphaService].map((definition) => ({
    definition,
    implementation: { serverReflectionInfo },
  }));
}

async function openIndex(): Promise<DescriptorIndex> {
  const { indexDescriptors } = await import('./descriptor-index.ts');
  return indexDescriptors(await readFile(fileURLToPath(import.meta.resolve('@ferry/proto/descriptors'))));
}

async function answer(
  { messageRequest: request }: ServerReflectionRequest,
  names: readonly string[],
  descriptors: () => Promise<DescriptorIndex>,
): Promise<Answer> {
  switch (request?.$case) {
    case 'listServices':
      return { $case: 'listServicesResponse', value: { service: names.map((name) => ({ name })) } };
    case 'fileByFilename':
      return files((await descriptors()).byFile(request.value));
    case 'fileContainingSymbol':
      return files((await descriptors()).bySymbol(request.value));
    case 'allExtensionNumbersOfType':
    case 'fileContainingExtension':
      return failure(status.NOT_FOUND, 'none of our messages has extensions');
    case undefined:
    default:
      return failure(status.UNIMPLEMENTED, 'not a reflection request that we know');
  }
}

const files = (found: readonly Uint8Array[] | undefined): Answer =>
  found === undefined
    ? failure(status.NOT_FOUND, 'not one of our files or symbols')
    : { $case: 'fileDescriptorResponse', value: { fileDescriptorProto: found.map((file) => Buffer.from(file)) } };

const failure = (errorCode: status, errorMessage: string): Answer => ({
  $case: 'errorResponse',
  value: { errorCode, errorMessage },
});
