import { readFile } from 'node:fs/promises';
import { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import type { TlsFiles } from './config.ts';
import { AgentError } from './errors.ts';

/** Who we are to others, and how we know who they are: each side of a connection shows a certificate that the other verifies. */
export interface Credentials {
  readonly server: ServerCredentials;
  /** One object for all connections: gRPC lets clients with the same credentials share a connection. */
  readonly client: ChannelCredentials;
  /** Without TLS: for loopback only. */
  readonly insecure: boolean;
}

/** Reads certificate, key and authority; undefined: no TLS at all. Throws AgentError config-invalid. */
export async function openCredentials(files: TlsFiles | undefined): Promise<Credentials> {
  if (files === undefined) {
    return { server: ServerCredentials.createInsecure(), client: ChannelCredentials.createInsecure(), insecure: true };
  }
  try {
    const [cert, key, ca] = await Promise.all([readFile(files.cert), readFile(files.key), readFile(files.ca)]);
    return {
      server: ServerCredentials.createSsl(ca, [{ private_key: key, cert_chain: cert }], true),
      client: ChannelCredentials.createSsl(ca, key, cert),
      insecure: false,
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new AgentError('config-invalid', `the TLS files cannot be used: ${why}`, { cause: error });
  }
}
