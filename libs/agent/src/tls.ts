import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP, isIPv6 } from 'node:net';
import {
  checkServerIdentity as checkIdentity,
  createSecureContext,
  type PeerCertificate,
  type TlsOptions,
} from 'node:tls';
import { ChannelCredentials } from '@grpc/grpc-js';
import type { TlsFiles } from './config.ts';
import { AgentError } from './errors.ts';

/** Who we are to others, and how we know who they are: each side of a connection shows a certificate that the other verifies. */
export interface Credentials {
  readonly server: TlsOptions | undefined;
  /** One object for all connections: gRPC lets clients with the same credentials share a connection. */
  readonly client: ChannelCredentials;
  /** For connections to a server whose certificate must be more than good for its name: `refuse` gives what it lacks. */
  readonly clientOf: (refuse: (certificate: X509Certificate) => Error | undefined) => ChannelCredentials;
  /** Without TLS: for loopback only. */
  readonly insecure: boolean;
}

/** Reads certificate, key and authority; undefined: no TLS at all. Throws AgentError config-invalid. */
export async function openCredentials(files: TlsFiles | undefined): Promise<Credentials> {
  if (files === undefined) {
    const client = ChannelCredentials.createInsecure();
    return { server: undefined, client, clientOf: () => client, insecure: true };
  }
  try {
    const [cert, key, ca] = await Promise.all([readFile(files.cert), readFile(files.key), readFile(files.ca)]);
    createSecureContext({ cert, key, ca }); // Throws for files that do not fit.
    return {
      server: { cert, key, ca, requestCert: true, rejectUnauthorized: true },
      client: ChannelCredentials.createSsl(ca, key, cert, { checkServerIdentity }),
      clientOf: (refuse) =>
        ChannelCredentials.createSsl(ca, key, cert, {
          checkServerIdentity: (name, shown) =>
            checkServerIdentity(name, shown) ?? refuse(new X509Certificate(shown.raw)),
        }),
      insecure: false,
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new AgentError('config-invalid', `the TLS files cannot be used: ${why}`, { cause: error });
  }
}

// gRPC sends the host it calls as the TLS server name, which must not be an IP address (RFC 6066; Node warns, and will stop doing it). So
// an IP address goes as a name that stands for it, and is what the certificate must have.
const v4 = '.ipv4.invalid';
const v6 = '.ipv6.invalid';

/** The server name for calling a host, if it is not simply the host's name. */
export function serverNameOf(host: string): string | undefined {
  if (isIP(host) === 0) return undefined;
  return isIPv6(host) ? `${host.replaceAll(':', '-')}${v6}` : `${host.replaceAll('.', '-')}${v4}`;
}

/** The host that a server name stands for. */
function hostOf(serverName: string): string {
  if (serverName.endsWith(v4)) return serverName.slice(0, -v4.length).replaceAll('-', '.');
  return serverName.endsWith(v6) ? serverName.slice(0, -v6.length).replaceAll('-', ':') : serverName;
}

/** Node 24's own check refuses every IPv6 address, whatever the certificate names: it reads the address as a domain name first, which is empty then. */
function checkServerIdentity(serverName: string, certificate: PeerCertificate): Error | undefined {
  const host = hostOf(serverName);
  if (isIP(host) === 0) return checkIdentity(host, certificate);
  if (new X509Certificate(certificate.raw).checkIP(host) !== undefined) return undefined;
  const names = certificate.subjectaltname ?? 'no name';
  return new Error(
    `the certificate at ${host} is for ${names}: issue one that has IP:${host} as a subject alternative name`,
  );
}
