/** Every method of both agents, and a call of any of them by its bytes. */
import { type Client, Metadata, type ServiceError, type status } from '@grpc/grpc-js';
import { DestAgentService, DestPeerService } from '@ferry/proto/ferry/v1/dest_agent';
import { DomainsService } from '@ferry/proto/ferry/v1/domains';
import { SourceAgentService, SourcePeerService } from '@ferry/proto/ferry/v1/source_agent';

const definitions = {
  source: [SourceAgentService, SourcePeerService, DomainsService],
  dest: [DestAgentService, DestPeerService],
} as const;

export const methods = (['source', 'dest'] as const).flatMap((side) =>
  definitions[side].flatMap((definition) =>
    Object.values(definition).map((method) => ({ side, path: method.path, method })),
  ),
);

/** The status of a call with these bytes as its one request. */
export function codeOf(client: Client, path: string, bytes: Buffer): Promise<status> {
  const raw = (message: Buffer): Buffer => message;
  const { promise, resolve } = Promise.withResolvers<status>();
  // A stream of one message each way is what every kind of call is on the wire.
  const call = client.makeBidiStreamRequest(path, raw, raw, new Metadata(), { deadline: Date.now() + 120_000 });
  call.on('data', () => call.cancel());
  call.on('error', (error: ServiceError) => resolve(error.code));
  call.on('status', ({ code }) => resolve(code));
  call.write(bytes);
  call.end();
  return promise;
}
