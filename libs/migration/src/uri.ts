/** Where memory flows to: libvirt's migration URIs, as far as QEMU connects by itself. */
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { MigrationError } from './errors.ts';

export type MigrationUri =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number | undefined }
  | { readonly kind: 'unix'; readonly path: string };

const hostPattern = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$/;
// A UNIX socket's address holds 108 bytes with its final NUL.
const unixPathMax = 107;

const invalid = (uri: string, why: string): MigrationError =>
  new MigrationError(
    'invalid-uri',
    `migration URI ${JSON.stringify(uri.slice(0, 200))}: ${why}; use tcp:HOST[:PORT] or unix:/PATH`,
  );

function parseTcp(uri: string, rest: string): MigrationUri {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]/]+))(?::(\d{1,5}))?$/.exec(rest);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (match?.[1] === undefined ? !hostPattern.test(host) : isIP(host) !== 6)
    throw invalid(uri, 'the host cannot be used');
  if (port !== undefined && (port < 1 || port > 65_535)) throw invalid(uri, 'the port is out of range');
  return { kind: 'tcp', host, port };
}

/** Reads `tcp:h[:p]`, `tcp://h[:p]` (libvirt accepts both) or `unix:/path`. Throws MigrationError invalid-uri. */
export function parseMigrationUri(uri: string): MigrationUri {
  if (uri.startsWith('tcp:')) return parseTcp(uri, uri.slice(uri.startsWith('tcp://') ? 6 : 4));
  if (uri.startsWith('unix:')) {
    const path = uri.slice(uri.startsWith('unix://') ? 7 : 5);
    // QEMU reads its own options out of what follows a comma.
    const plain = /^\/[A-Za-z0-9._/+@-]*$/.test(path) && !path.split('/').includes('..');
    if (!plain) throw invalid(uri, 'the path must be absolute, without "..", commas and special characters');
    if (Buffer.byteLength(path) > unixPathMax) throw invalid(uri, `a socket's path has at most ${unixPathMax} bytes`);
    return { kind: 'unix', path };
  }
  throw invalid(uri, 'the scheme is not supported');
}

/** Where a host's configuration lets memory flow. */
export interface MigrationEndpoints {
  /** FERRY_MIGRATION_ADDRESS. */
  readonly address: string;
  readonly ports: { readonly first: number; readonly last: number };
  /** The one directory of UNIX sockets that memory may flow through. */
  readonly sockets: string;
}

/** Why a destination does not listen there: nothing but what its host's configuration names is opened to a network. */
export function listenProblem(uri: MigrationUri, { address, ports, sockets }: MigrationEndpoints): string | undefined {
  if (uri.kind === 'unix') return socketProblem(uri.path, sockets);
  if (uri.host.toLowerCase() !== address.toLowerCase())
    return `it is not the address ${address} of FERRY_MIGRATION_ADDRESS`;
  if (uri.port === undefined || (uri.port >= ports.first && uri.port <= ports.last)) return undefined;
  return `its port is not in ${ports.first}-${ports.last} of FERRY_MIGRATION_PORTS`;
}

/** Why memory does not flow through a socket: QEMU unlinks what is where it listens, and a monitor would execute what a guest writes. */
export function socketProblem(path: string, sockets: string): string | undefined {
  return dirname(path) === sockets && !/\/\.?$/.test(path)
    ? undefined
    : `it is not directly in ${sockets}, FERRY_MIGRATION_SOCKETS`;
}

/** Writes a URI as QEMU and libvirt's older form have it: `tcp:HOST:PORT`, an IPv6 address in brackets. */
export function formatMigrationUri(uri: MigrationUri): string {
  if (uri.kind === 'unix') return `unix:${uri.path}`;
  const host = uri.host.includes(':') ? `[${uri.host}]` : uri.host;
  return uri.port === undefined ? `tcp:${host}` : `tcp:${host}:${uri.port}`;
}
